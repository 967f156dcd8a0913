"""Runs read back out of MLflow: the same comparison as from their folders, states, changes, a store that is away."""

from dataclasses import replace

import numpy as np
import pytest

from o3v.benchmarks.pairs import RecordScores
from o3v.benchmarks.records import write_records
from o3v.comparison.collect import collect
from o3v.comparison.curves import build_charts
from o3v.comparison.differences import Rules
from o3v.comparison.tables import build_table
from o3v.errors import ServiceError
from o3v.tracking.read_runs import fetch_runs, log_to_study
from o3v.tracking.run import RunFolder
from o3v.tracking.study_runs import open_study_runs
from tests.comparison.studies import curves_of, declare, record
from tests.tracking.test_mlflow_tracker import client_of, settings

PATTERNS = ["train/reward", "train/reward/*"]
REPORT = {
    "results": {"guess": {"acc": {"value": 0.25, "low": 0.2, "high": 0.3}}},
    "differences": [{"of": "model", "minus": "guess"}],
}


def run_all(study, database):
    """Every run of a study, told to MLflow as a real one tells it."""
    rng = np.random.default_rng(0)
    for key, run in study.runs.items():
        folder = RunFolder(run.folder)
        tracker = settings(database).start(folder, key, {}, {"seed": "0"})
        if run.benchmark is None:
            curves = curves_of(rng, 5, 0.0)
            for step in range(5):
                tracker.metrics({name: values[step] for name, values in curves.items()}, step)
        else:
            records = [record(f"q{i}", {"acc": float(rng.random() < 0.5)}, f"v{i // 2}") for i in range(20)]
            write_records(run.folder / "records.jsonl", records)
            folder.write_json("report.json", REPORT)
            (run.folder / "config.yaml").write_text("reward: {weights: {a: 1}}\n")
            for name in ("records.jsonl", "report.json", "config.yaml"):
                tracker.artifact(run.folder / name, "")
        tracker.metrics({"final/reward": 1.5}, 0)
        tracker.finish("finished")
        folder.mark_done({"reward": 1.5})


def compared(collected):
    table = build_table(collected, "made", RecordScores(50, 0), Rules(None, [], 99))
    return table, build_charts(collected, PATTERNS), collected.unfinished()


def test_folders_and_mlflow_give_the_same_comparison(database, tmp_path):
    study = declare(tmp_path / "runs", seeds=(0, 1))
    run_all(study, database)
    folders = fetch_runs(settings(database), list(study.runs), tmp_path / "copies", PATTERNS)
    assert set(folders) == set(study.runs) and not any(path == study.runs[key].folder for key, path in folders.items())
    here, there = collect(study, PATTERNS), collect(study, PATTERNS, folders, "MLflow")
    assert repr(compared(here)) == repr(compared(there))
    assert there.settings == here.settings and there.reports == here.reports
    again = fetch_runs(settings(database), list(study.runs), tmp_path / "copies", PATTERNS)
    assert repr(compared(collect(study, PATTERNS, again))) == repr(compared(here))


def test_what_mlflow_does_not_have_has_not_started(database, tmp_path):
    study = declare(tmp_path / "runs", arms=("base",), seeds=(0,))
    tracker = settings(database).start(RunFolder(study.runs["rl-base0"].folder), "rl-base0", {}, {})
    tracker.metrics({"train/reward": 1.0}, 0)
    tracker.finish("failed")
    folders = fetch_runs(settings(database), list(study.runs), tmp_path / "copies", PATTERNS)
    found = collect(study, PATTERNS, folders, "MLflow")
    assert {key: state.state for key, state in found.states.items()} == {
        "rl-base0": "failed", "eval_made-base0": "not started",
    }  # fmt: skip
    assert found.curves["rl-base0"] == {"train/reward": ((0, 1.0),)}
    study = replace(study, runs={key: replace(run, folder=tmp_path / "again" / key) for key, run in study.runs.items()})
    run_all(study, database)  # the same configuration, started afresh: the finished one counts
    found = collect(study, [], fetch_runs(settings(database), list(study.runs), tmp_path / "copies", []), "MLflow")
    assert {state.state for state in found.states.values()} == {"finished"}


def test_a_store_that_is_away_is_told(tmp_path):
    (tmp_path / "locked").write_text("no folder")
    away = settings(tmp_path / "locked" / "mlflow.db")
    with pytest.raises(ServiceError, match="cannot be read"):
        fetch_runs(away, ["rl-1"], tmp_path / "copies", [])


def test_files_join_the_run_of_the_study(database, tmp_path, caplog):
    folder, page = RunFolder(tmp_path / "study"), tmp_path / "index.html"
    page.write_text("<html>")
    assert not log_to_study(settings(database), folder, [page], "compare")
    runs = open_study_runs(settings(database), folder, "made", [("base", 0)], {})
    assert log_to_study(settings(database), folder, [page], "compare")
    assert [item.path for item in client_of(database).list_artifacts(runs.study_id, "compare")] == [
        "compare/index.html"
    ]
    (tmp_path / "locked").write_text("no folder")
    assert not log_to_study(settings(tmp_path / "locked" / "mlflow.db"), folder, [page], "compare")
    assert "the comparison is not in MLflow" in caplog.text
