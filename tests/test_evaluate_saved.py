"""Saved answers: scored without a model and quickly; workers and shards give the table of one process."""

import json
import resource
import subprocess
import sys

import pytest

from o3v.errors import ConfigError, DataError
from tests import commands, tiny
from tests.commands import HELDOUT, QUIET, SMALL, run_folder

LIMIT_S = 3.0


@pytest.fixture(scope="module")
def answered(tmp_path_factory):
    """Output folder, overrides and run folder of a small evaluation with a random model."""
    out, given = tmp_path_factory.mktemp("evaluated"), tmp_path_factory.mktemp("given")
    base = tiny.saved_policy("qwen2_5_vl", given / "base")  # beside every output folder, so that runs have one name
    where = f"data.dataset.root={given}/data"
    overrides = ("logger=none", *QUIET, *SMALL, HELDOUT, where, f"checkpoint={base}")
    commands.run("evaluate", out, *overrides)
    return out, overrides, run_folder(out, "evaluate")


def cpu_s():
    """CPU seconds of the processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def table(folder):
    report = json.loads((folder / "report.json").read_text())
    return report["results"], report["differences"]


def test_saved_answers_have_the_same_table(answered, tmp_path):
    _, overrides, folder = answered
    for name, given in (("file", folder / "records.jsonl"), ("folder", folder)):
        commands.run("evaluate", tmp_path / name, *overrides, f"predictions={given}")
        assert table(run_folder(tmp_path / name, "evaluate")) == table(folder)


def test_saved_answers_need_no_torch_and_little_time(answered, tmp_path):
    _, overrides, folder = answered
    command = [sys.executable, "-X", "importtime", "-m", "o3v.evaluate", f"paths.output_dir={tmp_path}", *overrides]
    before = cpu_s()
    done = subprocess.run(
        [*command, f"predictions={folder}/records.jsonl"], cwd=tiny.CONF.parent, capture_output=True, text=True
    )
    spent = cpu_s() - before  # a loaded machine does not count
    assert done.returncode == 0, done.stderr[-2000:]
    modules = {line.rpartition("|")[2].strip().split(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert not modules & {"torch", "transformers", "mlflow", "lightning", "matplotlib"}
    assert spent < LIMIT_S


def test_workers_and_shards_give_the_table_of_one(answered, tmp_path):
    _, overrides, folder = answered
    commands_of = {"workers": [("workers=2",)], "shards": [("shard=1/2",), ("shard=0/2",)]}
    for name, starts in commands_of.items():
        out = tmp_path / name
        for more in starts:
            process = commands.start("evaluate", out, *overrides, *more)
            assert process.communicate(timeout=300) and process.returncode == 0
        made = run_folder(out, "evaluate")
        assert made.name == folder.name
        assert (made / "records.jsonl").read_bytes() == (folder / "records.jsonl").read_bytes()
        assert table(made) == table(folder) and not list(made.glob("records-*"))


def test_a_failing_worker_is_told(answered, tmp_path):
    _, overrides, _ = answered
    process = commands.start("evaluate", tmp_path, *overrides, "workers=2", "rollout.group_size=2")
    text, _ = process.communicate(timeout=300)
    assert process.returncode == 2 and "worker" in text and "group_size=2" in text


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("predictions=/nowhere.jsonl",), "predictions=/nowhere.jsonl"),
        (("workers=0",), "workers=0"),
        (("shard=2/2",), "shard=2/2"),
        (("shard=0/2", "workers=2"), "one worker"),
    ],
)
def test_mistakes_are_told(tmp_path, overrides, message):
    with pytest.raises(ConfigError, match=message):
        commands.run("evaluate", tmp_path, "logger=none", *QUIET, *SMALL, HELDOUT, *overrides)


def test_answers_to_another_benchmark_are_told(answered, tmp_path):
    _, overrides, folder = answered
    lines = (folder / "records.jsonl").read_text().splitlines()
    (tmp_path / "other.jsonl").write_text(lines[0].replace("temporal", "spatial").replace("visual", "x") + "\n")
    with pytest.raises(DataError, match="another benchmark"):
        commands.run("evaluate", tmp_path, *overrides, f"predictions={tmp_path}/other.jsonl")
