"""`python -m o3v.plan`: every preset without weights, refusals, given lengths, and those of the data."""

import json
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from o3v import plan
from o3v.config import build
from o3v.errors import ConfigError
from o3v.planning.changes import PlanError
from tests.commands import composed
from tests.tiny import CONF

PRESETS = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
EXPERIMENTS = ("paper_sft", "paper_rl")
ROOMY = "gpu_memory_gib=10000"
REAL = Path(__file__).parents[2] / "shared" / "data" / "stgr_real"
CPU_S = 10.0


def is_published(name):
    values = yaml.safe_load((CONF / "model" / f"{name}.yaml").read_text())
    return values.get("published") is not None or any(map(is_published, values.get("defaults", [])[:1]))


PUBLISHED = [name for name in PRESETS if is_published(name)]


def card(model):
    """Where a preset trains: adapters on one GPU."""
    return ("trainer=gpu", "cluster.tasks_per_node=1") if "lora" in model else ()


def stgr():
    """A data root in the layout of STGR: the small real one, or none."""
    if not REAL.is_dir():
        pytest.skip("../shared/data/stgr_real is not there")
    return f"paths.data_root={REAL}"


def planned(tmp_path, *overrides):
    return plan.main.__wrapped__(composed("plan", tmp_path, *overrides))


@pytest.mark.parametrize("model", PRESETS)
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_preset_is_planned_without_weights_and_data(model, experiment, tmp_path, capsys):
    peak = planned(tmp_path, f"experiment={experiment}", f"model={model}", *card(model), ROOMY)
    said = capsys.readouterr().out
    assert peak > 0 and "together" in said and "parameters" in said


@pytest.mark.parametrize("model", ["qwen2_5_vl_7b", "qwen3_vl_8b"])
@pytest.mark.parametrize("experiment", EXPERIMENTS)
@pytest.mark.parametrize("trainer", [None, "fsdp2"])
def test_the_papers_stages_fit_eight_cards_of_80_gb(model, experiment, trainer, tmp_path, capsys):
    chosen = [] if trainer is None else [f"trainer={trainer}"]
    assert planned(tmp_path, f"experiment={experiment}", f"model={model}", *chosen) < 80
    usual = "zero2" if experiment == "paper_sft" else "zero3"
    assert f"8 x {trainer or usual}" in capsys.readouterr().out


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_the_largest_real_row_is_planned(experiment, tmp_path):
    planned(tmp_path, f"experiment={experiment}", stgr(), f"out={tmp_path}/plan.json")
    lengths = json.loads((tmp_path / "plan.json").read_text())["lengths"]
    assert lengths["source"].startswith("the largest sample") and 500 < lengths["prompt"] < 8192


def cpu_seconds(arguments):
    """Of a plan in a process of its own."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-m", "o3v.plan", *arguments], capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0 and "parameters" in done.stdout, done.stderr
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


# each preset once, its experiments in turn: what they differ in costs milliseconds
SLOW = [pytest.param(m, EXPERIMENTS[n % 2], marks=pytest.mark.slow) for n, m in enumerate(PUBLISHED)]


@pytest.mark.parametrize(("model", "experiment"), [("qwen2_5_vl_7b", "paper_rl"), *SLOW])
def test_a_plan_is_there_in_ten_seconds(model, experiment, tmp_path):
    data = [f"paths.data_root={REAL}"] if REAL.is_dir() else []
    arguments = (f"experiment={experiment}", f"model={model}", *card(model), ROOMY, *data)
    arguments += (f"paths.output_dir={tmp_path}",)
    assert any(cpu_seconds(arguments) < CPU_S for _ in range(3))  # tried again where the machine is busy


TIGHT = [
    ("gpu_memory_gib=24", "experiment=paper_sft"),
    ("gpu_memory_gib=24", "experiment=paper_rl"),
    ("gpu_memory_gib=80", "experiment=paper_sft", "trainer=gpu", "cluster.tasks_per_node=1"),
    ("gpu_memory_gib=80", "experiment=paper_sft", "trainer=ddp"),
    ("gpu_memory_gib=80", "experiment=paper_rl", "trainer=ddp", "model=qwen3_vl_8b"),
    ("gpu_memory_gib=80", "experiment=paper_rl", "model=qwen2_5_vl_32b"),
    ("gpu_memory_gib=48", "experiment=paper_rl", "trainer=gpu", "cluster.tasks_per_node=1", "frames=21"),
    ("gpu_memory_gib=30", "experiment=paper_rl", "trainer.prompts_per_device=8", "trainer.prompts_per_pass=null"),
    (
        "gpu_memory_gib=11",
        "experiment=paper_rl",
        "model=qwen2_5_vl_7b_qlora",
        "trainer=gpu",
        "cluster.tasks_per_node=1",
    ),
]


@pytest.mark.parametrize("overrides", TIGHT)
def test_the_nearest_change_is_a_command_that_works(overrides, tmp_path):
    """Its words go onto the command line of the plan, which then fits, and of training, which composes."""
    with pytest.raises(PlanError) as refused:
        planned(tmp_path, *overrides)
    words = re.search(r"the nearest change that fits \([0-9.]+ GiB\) is (.*)", str(refused.value)).group(1).split()
    planned(tmp_path, *overrides, *words)
    own = ("gpu_memory_gib", "frames")
    cfg = composed("train", tmp_path, *(o for o in overrides if not o.startswith(own)), *words)
    assert build(cfg, "trainer").passes() and build(cfg, "model") and build(cfg, "data.reader")


def test_keys_that_stand_above_a_change_are_named(tmp_path):
    with pytest.raises(PlanError, match=r"is trainer=\S+ \(without layout=\)"):
        planned(tmp_path, "experiment=paper_sft", "layout=ddp", "gpus=8")


def test_what_training_refuses_is_not_planned(tmp_path):
    with pytest.raises(ConfigError, match=r"model\.quantization='nf4'"):
        planned(tmp_path, "experiment=paper_rl", "model=qwen2_5_vl_7b_qlora")


def test_the_smallest_command_plans_the_smallest_run(tmp_path, capsys):
    assert 0 < planned(tmp_path) < 1
    assert "fits" not in capsys.readouterr().out  # a CPU's memory is not looked at


def test_a_plan_that_cannot_fit_ends_with_two_and_one_sentence():
    command = [sys.executable, "-m", "o3v.plan", "experiment=paper_sft", "gpu_memory_gib=24"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "the nearest change that fits" in done.stderr


def test_given_lengths_win_and_longer_ones_cost_more(tmp_path):
    common = ("experiment=paper_rl", ROOMY, "frames=16")
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
