"""python -m o3v.compare as a command, on a declared study whose answers are made up: files, sources, mistakes."""

import csv
import json
import os
import subprocess
import sys

import pytest

from o3v import compare
from o3v.compose import compose_command, override
from o3v.errors import ConfigError
from o3v.study import read_study
from o3v.tracking.run import RunFolder
from tests import tiny
from tests.commands import COUNTS, HELDOUT
from tests.comparison import studies

SKILLS = {"o3": 0.9, "no_gate": 0.2, "fixed_sigma_4": 0.9, "no_spatial": 0.5}
SELECT = ["seeds=[20,21]", override("common", [COUNTS, HELDOUT, "data.dataset.world.n_frames=4"])]
HEAVY = {"torch", "transformers", "lightning", "mlflow", "scipy", "matplotlib", "pandas"}
WITHOUT_HEAVY = f"""
import runpy, sys
sys.argv = ["o3v.compare", *sys.argv[1:]]
try:
    runpy.run_module("o3v.compare", run_name="__main__", alter_sys=True)
except SystemExit as stop:
    code = stop.code
heavy = {HEAVY!r} & set(sys.modules)
assert not heavy, heavy
sys.exit(code)
"""


def command(*arguments):
    environment = os.environ | {"COLUMNS": "200", "OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-c", WITHOUT_HEAVY, *map(str, arguments)]
    return subprocess.run(line, cwd=tiny.CONF.parent, env=environment, capture_output=True, text=True)


def configured(out, *overrides):
    return compose_command("compare", ["study=shapes_rewards", f"paths.output_dir={out}", *overrides])


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """The study shapes_rewards, small, all runs finished but those of one arm's last seed."""
    out = tmp_path_factory.mktemp("outputs")
    study = read_study("shapes_rewards", [f"paths.output_dir={out}", *SELECT])
    studies.play(study, compare.benchmark_of(study, "shapes"), SKILLS, steps=6)
    last = study.runs[study.members["no_spatial", 21][-1]].folder
    (last / "DONE.json").unlink()
    RunFolder(last).write_json("status.json", {"status": "failed"})
    return study


def select(played):
    return [f"paths.output_dir={played.folder.parent.parent}", override("select", SELECT), "exchanges=199"]


def test_the_command_says_and_writes_everything_without_torch(played, tmp_path):
    done = command("study=shapes_rewards", *select(played), f"out={tmp_path}", "logger=none")
    assert done.returncode == 0, done.stderr
    assert "paired difference to o3" in done.stdout and "no_gate" in done.stdout
    assert "no_spatial: no finished evaluation for seed 21" in done.stdout
    assert "eval_shapes" in done.stdout and "failed" in done.stdout
    assert {path.name for path in tmp_path.iterdir()} == {
        "results.json", "table.csv", "table.tex", "table.md", "index.html",
    }  # fmt: skip
    found = json.loads((tmp_path / "results.json").read_text())
    (table,) = found["tables"]
    assert list(table["arms"]) == list(SKILLS) and "mAM" in table["metrics"] and "whole_video" in table["trivial"]
    assert [one["arms"] for one in found["unfinished"]] == [["no_spatial"]]
    rows = list(csv.DictReader((tmp_path / "table.csv").open()))
    numbers = {(row["name"], row["metric"]): row for row in rows if row["row"] == "arm"}
    cell = table["arms"]["no_gate"]["tiou"]
    assert float(numbers["no_gate", "tiou"]["difference"]) == cell["difference"]["spread"]["value"]
    page = (tmp_path / "index.html").read_text()
    assert page.count("data:image/webp;base64,") == 4 * 6 and "train" not in page.split("<h4>")[1][:20]


def test_a_table_alone_needs_no_pictures(played, tmp_path):
    cfg = configured(tmp_path, "exchanges=99", "page=false", "logger=none", f"out={tmp_path / 'out'}")
    report = compare.run(cfg, played)
    files = compare.publish(cfg, played, report)
    assert (report.examples, report.charts) == ((), ())
    assert list(files) == ["results.json", "table.csv", "table.tex", "table.md"]
    assert compare.first_difference(report) == report.tables[0].arms["no_gate"]["reward/total"].difference.spread.value


def test_help_is_light():
    done = command("--help")
    assert done.returncode == 0 and "python -m o3v.compare study=NAME" in done.stdout


def test_media_that_are_gone_leave_the_texts(played, tmp_path, monkeypatch):
    cfg = configured(tmp_path, "exchanges=99", "examples.pictures=false")
    report = compare.run(cfg, played)
    assert all(one.picture is None and one.text for ex in report.examples for one in ex.answers.values())
    monkeypatch.setattr(compare, "benchmark_of", lambda study, name: _WithoutData(real(study, name)))
    report = compare.run(cfg, played)
    assert len(report.examples) == 6 and not any(example.question for example in report.examples)
    assert any("without questions and pictures" in note for note in report.notes)


real = compare.benchmark_of


class _WithoutData:
    """A benchmark whose data is not on this machine; its columns need none."""

    def __init__(self, benchmark):
        self._benchmark = benchmark

    def __getattr__(self, name):
        return getattr(self._benchmark, name)

    def questions(self):
        raise ConfigError("paths.benchmark_root=/nowhere: not there")


def test_the_record_goes_to_experiments(played, tmp_path, monkeypatch):
    monkeypatch.setattr("o3v.cli.conf_folder", lambda: tmp_path / "conf")
    cfg = configured(tmp_path, "exchanges=99", "page=false", "record=true", "logger=none", f"out={tmp_path / 'out'}")
    compare.publish(cfg, played, compare.run(cfg, played))
    folder = tmp_path / "experiments" / "shapes_rewards"
    assert "<!-- results -->\n**shapes: x 100" in (folder / "README.md").read_text()
    assert json.loads((folder / "results.json").read_text())["baseline"] == "o3"


def test_a_study_that_has_not_begun_is_told(tmp_path):
    cfg = configured(tmp_path, "page=false")
    study = read_study("shapes_rewards", [f"paths.output_dir={tmp_path}", "seeds=[20]"])
    report = compare.run(cfg, study)
    assert report.tables == () and report.notes == ("shapes: no evaluation has finished",)
    assert len(report.unfinished) == len(study.runs) and compare.first_difference(report) is None


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["source=disk"], "source=disk: allowed are folders, mlflow"),
        (["exchanges=0"], "exchanges=0: must be at least 1"),
        (["examples.random=-1"], "examples.random=-1"),
    ],
)
def test_mistakes_are_told_before_anything_is_read(tmp_path, overrides, told):
    with pytest.raises(ConfigError, match=told):
        compare.check(configured(tmp_path, *overrides))


def test_an_unknown_metric_or_logger_is_told(played, tmp_path):
    with pytest.raises(ConfigError, match=r"metrics=\['speed'\].*there are"):
        compare.run(configured(tmp_path, "metrics=[speed]", "page=false"), played)
    with pytest.raises(ConfigError, match="source=mlflow: needs logger=mlflow"):
        compare.run(configured(tmp_path, "source=mlflow", "logger=none"), played)
