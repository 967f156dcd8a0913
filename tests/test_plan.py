"""`python -m o3v.plan`: every preset without weights, refusals, given lengths, and those of the data."""

import json
import subprocess
import sys

import pytest

from o3v import plan
from o3v.errors import ConfigError
from o3v.planning.changes import PlanError
from tests.commands import composed
from tests.tiny import CONF

PRESETS = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
ROOMY = "gpu_memory_gib=10000"


def planned(tmp_path, *overrides):
    return plan.main.__wrapped__(composed("plan", tmp_path, *overrides))


@pytest.mark.parametrize("model", PRESETS)
@pytest.mark.parametrize("experiment", ["paper_rl"])
def test_every_preset_is_planned_without_weights_and_data(model, experiment, tmp_path, capsys):
    peak = planned(tmp_path, f"experiment={experiment}", f"model={model}", "layout=zero3", "gpus=8", ROOMY)
    said = capsys.readouterr().out
    assert peak > 0 and "together" in said and "parameters" in said


def test_the_smallest_command_plans_the_smallest_run(tmp_path, capsys):
    assert 0 < planned(tmp_path) < 1
    assert "fits" not in capsys.readouterr().out  # a CPU's memory is not looked at


def test_a_plan_that_cannot_fit_ends_with_two_and_one_sentence():
    command = [sys.executable, "-m", "o3v.plan", "experiment=paper_sft", "gpu_memory_gib=24"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "the nearest change that fits" in done.stderr


def test_given_lengths_win_and_longer_ones_cost_more(tmp_path):
    common = ("experiment=paper_rl", "layout=zero3", "gpus=8", ROOMY, "frames=16")
    short, long = (planned(tmp_path, *common, f"prompt={tokens}") for tokens in (4000, 16000))
    assert short < long


def test_lengths_of_the_data_where_they_are(tmp_path):
    from tests.commands import COUNTS, HELDOUT

    data = (COUNTS, HELDOUT, f"data.dataset.root={tmp_path}/world", f"out={tmp_path}/plan.json")
    (tmp_path / "world").mkdir()
    planned(tmp_path, *data)
    lengths = json.loads((tmp_path / "plan.json").read_text())["lengths"]
    assert lengths["source"].startswith("the largest sample") and 1 <= lengths["frames"] <= 9


def test_an_unknown_layout_names_those_that_are_known(tmp_path):
    with pytest.raises(ConfigError, match="layout='zero9' is not known; allowed are"):
        planned(tmp_path, "layout=zero9")


def test_refusal_is_an_error_of_the_users():
    assert PlanError("x").__class__.__mro__[1].__name__ == "UserError"
