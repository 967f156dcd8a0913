"""Trackers: what reaches MLflow and the disk, from several processes, over interruptions and failures."""

import json
import logging
import subprocess
import sys

import pytest
from PIL import Image

from o3v.errors import ConfigError, StorageError
from o3v.tracking.journal import read_lines
from o3v.tracking.run import RunFolder
from o3v.tracking.tracker import (
    Guard,
    JsonlSettings,
    MlflowSettings,
    NullSettings,
    Trackers,
    flatten,
)


def settings(root, uri=None):
    return MlflowSettings(uri or f"sqlite:///{root}/mlflow.db", "exp", None, 5)


def client_of(root):
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=f"sqlite:///{root}/mlflow.db")


def steps(client, run_id, key):
    return sorted(point.step for point in client.get_metric_history(run_id, key))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """One database for the module: making it takes seconds."""
    return tmp_path_factory.mktemp("store")


def test_a_run_and_its_continuation_are_one_mlflow_run(store, tmp_path):
    folder = RunFolder(tmp_path)
    config = {"model": {"lr": 0.1}, "seed": 0}
    first = settings(store).start(folder, "arm", config, {"seed": "0", "mlflow.parentRunId": "p"})
    for step in range(8):
        first.metrics({"train/loss": 1.0 / (step + 1)}, step)
    first.table("completions", [{"text": "a", "total": 1.0}], 0)
    first.image("evidence", Image.new("RGB", (8, 8)), 0)
    first.finish("interrupted")

    client = client_of(store)
    assert client.get_run(first.run_id).info.status == "KILLED"
    second = settings(store).start(folder, "arm", {"model": {"lr": 0.2}, "new": 1}, {"seed": "0"})
    assert second.run_id == first.run_id
    assert client.get_run(first.run_id).info.status == "RUNNING"
    for step in range(6, 12):  # 6 and 7 are told a second time
        second.metrics({"train/loss": 1.0 / (step + 1)}, step)
    second.table("completions", [{"text": "a", "total": 1.0}], 0)
    second.table("completions", [{"text": "b", "total": 2.0}], 10)
    (tmp_path / "extra.txt").write_text("x")
    second.artifact(tmp_path / "extra.txt", "files")
    second.finish("finished")

    run = client.get_run(first.run_id)
    assert run.info.status == "FINISHED" and run.info.run_name == "arm"
    assert steps(client, first.run_id, "train/loss") == list(range(12))
    assert run.data.params == {"model/lr": "0.1", "seed": "0", "new": "1"}
    assert run.data.tags["mlflow.parentRunId"] == "p" and run.data.tags["seed"] == "0"
    assert {item.path for item in client.list_artifacts(first.run_id)} >= {"tables", "images", "files"}
    table = json.loads((store / "mlflow.artifacts" / first.run_id / "artifacts/tables/completions.json").read_text())
    assert [row[table["columns"].index("text")] for row in table["data"]] == ["a", "b"]
    assert len(list(read_lines(tmp_path / "metrics.jsonl"))) == 12


def test_metrics_are_sent_in_batches_and_twice_is_once(store, tmp_path):
    tracker = settings(store).start(RunFolder(tmp_path), "batches", {}, {})
    client = client_of(store)
    for step in range(4):
        tracker.metrics({"a": step}, step)
    assert steps(client, tracker.run_id, "a") == []
    tracker.metrics({"a": 4}, 4)
    assert steps(client, tracker.run_id, "a") == [0, 1, 2, 3, 4]
    state = json.loads((tmp_path / "mlflow.json").read_text())
    (tmp_path / "mlflow.json").write_text(json.dumps({**state, "sent_bytes": 0}))  # died before it noted the sending
    again = settings(store).start(RunFolder(tmp_path), "batches", {}, {})
    again.metrics({f"k{i}": 0.0 for i in range(1500)}, 5)  # more than MLflow takes at once
    again.finish("finished")
    assert steps(client, tracker.run_id, "a") == [0, 1, 2, 3, 4]
    assert len(client.get_run(tracker.run_id).data.metrics) == 1501


def test_a_run_that_the_store_lost_is_made_anew_with_all_metrics(store, tmp_path):
    first = settings(store).start(RunFolder(tmp_path), "lost", {}, {})
    first.metrics({"a": 1.0}, 0)
    first.finish("interrupted")
    client = client_of(store)
    client.delete_run(first.run_id)
    second = settings(store).start(RunFolder(tmp_path), "lost", {}, {})
    second.metrics({"a": 1.0}, 1)
    second.finish("finished")
    assert second.run_id != first.run_id
    assert steps(client, second.run_id, "a") == [0, 1]


START = """
import sys, time
from pathlib import Path
from o3v.tracking.run import RunFolder
from o3v.tracking.tracker import MlflowSettings
import mlflow.tracking.client, mlflow.store.tracking.sqlalchemy_store
root, name = Path(sys.argv[1]), sys.argv[2]
(root / f"ready{name}").touch()
while not (root / "go").exists():
    time.sleep(0.005)
tracker = MlflowSettings(f"sqlite:///{root}/mlflow.db", "exp", None, 1).start(RunFolder(root / name), name, {}, {})
for step in range(5):
    tracker.metrics({"a": step}, step)
tracker.finish("finished")
print(tracker.run_id)
"""


def test_four_processes_start_together_on_a_database_that_does_not_exist(tmp_path):
    names = [str(number) for number in range(4)]
    running = [
        subprocess.Popen([sys.executable, "-c", START, str(tmp_path), name], stdout=subprocess.PIPE, text=True)
        for name in names
    ]
    while not all((tmp_path / f"ready{name}").exists() for name in names):
        assert all(process.poll() is None for process in running)
    (tmp_path / "go").touch()
    ids = [process.communicate(timeout=200)[0].strip() for process in running]
    client = client_of(tmp_path)
    assert len(set(ids)) == 4
    assert [steps(client, run_id, "a") for run_id in ids] == [[0, 1, 2, 3, 4]] * 4
    experiments = [item.name for item in client.search_experiments()]
    assert sorted(experiments) == ["Default", "exp"]
    import sqlite3

    assert sqlite3.connect(tmp_path / "mlflow.db").execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_process_that_died_while_making_the_database_does_no_harm(tmp_path, store, monkeypatch):
    (tmp_path / ".mlflow.db.new").write_bytes(b"half made")
    (tmp_path / "mlflow.db").touch()
    tracker = settings(tmp_path).start(RunFolder(tmp_path / "run"), "n", {}, {})
    tracker.finish("finished")
    assert client_of(tmp_path).get_run(tracker.run_id).info.status == "FINISHED"
    assert not (tmp_path / ".mlflow.db.new").exists()


def test_a_server_that_is_gone_costs_one_warning(tmp_path, caplog, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with caplog.at_level(logging.WARNING, "o3v.tracking.tracker"):
        tracker = settings(tmp_path, "http://127.0.0.1:9").start(RunFolder(tmp_path / "run"), "n", {"a": 1}, {})
        for step in range(3):
            tracker.metrics({"a": 1.0}, step)
        tracker.finish("finished")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert len(list(read_lines(tmp_path / "run" / "metrics.jsonl"))) == 3


def test_a_store_that_fails_later_does_not_stop_training_and_is_filled_again(store, tmp_path, caplog):
    tracker = settings(store).start(RunFolder(tmp_path), "later", {}, {})
    client = client_of(store)
    client.delete_run(tracker.run_id)  # every call now fails
    with caplog.at_level(logging.WARNING, "o3v.tracking.tracker"):
        for step in range(12):
            tracker.metrics({"a": 1.0}, step)
        tracker.table("t", [{"x": 1}], 0)
    assert len(caplog.records) == 1
    client.restore_run(tracker.run_id)
    tracker.finish("finished")
    assert steps(client, tracker.run_id, "a") == list(range(12))


def test_guard_lets_bugs_through():
    with pytest.raises(ZeroDivisionError), Guard("x", (OSError,)):
        _ = 1 / 0


@pytest.mark.parametrize("uri", ["file:///tmp/mlruns", "mlruns", "/tmp/mlruns"])
def test_file_stores_are_refused_with_a_sentence(tmp_path, uri):
    with pytest.raises(ConfigError, match=r"logger\.tracking_uri"):
        settings(tmp_path, uri)


def test_flush_interval_is_checked(tmp_path):
    with pytest.raises(ConfigError, match="flush_every_steps"):
        MlflowSettings("sqlite:///a.db", "e", None, 0)


def test_jsonl_and_composite(tmp_path):
    one = JsonlSettings().start(RunFolder(tmp_path / "a"), "n", {"x": {"y": 1}}, {"seed": "1"})
    two = NullSettings().start(RunFolder(tmp_path / "b"), "n", {}, {})
    both = Trackers((one, two))
    both.metrics({"a": 1}, 0)
    both.params({"x": {"y": 2}})
    both.tags({"more": "1"})
    both.table("t", [{"a": 1}], 0)
    both.image("i", Image.new("RGB", (2, 2)), 0)
    both.artifact(tmp_path / "x", "")
    both.finish("failed")
    read = RunFolder(tmp_path / "a").read_json
    assert read("params.json") == {"x/y": "2"}
    assert read("tags.json") == {"name": "n", "seed": "1", "more": "1"}
    assert read("status.json") == {"status": "failed"}
    assert not (tmp_path / "b").exists()


def test_jsonl_survives_a_disk_that_fails_after_the_start(tmp_path, caplog):
    tracker = JsonlSettings().start(RunFolder(tmp_path / "a"), "n", {}, {})
    (tmp_path / "a" / "metrics.jsonl").mkdir()
    with caplog.at_level(logging.WARNING):
        tracker.metrics({"a": 1}, 0)
        tracker.metrics({"a": 1}, 1)
    assert len(caplog.records) == 1


def test_an_unwritable_folder_is_told_at_the_start(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError):
        JsonlSettings().start(RunFolder(tmp_path / "file" / "x"), "n", {}, {})


def test_flatten_empty_and_lists():
    assert flatten({"a": {}, "b": [1], "c": {"d": None}}) == {"a": "{}", "b": "[1]", "c/d": "None"}


def test_mlflow_is_imported_only_when_a_run_starts():
    code = "import sys, o3v.tracking.tracker, o3v.tracking.mlflow_store; assert 'mlflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_names_that_mlflow_does_not_take_are_stored_under_near_ones(store, tmp_path):
    tracker = settings(store).start(RunFolder(tmp_path), "names", {"counts": {"temporal QA (MCQ)": 0}}, {})
    tracker.metrics({"eval/R1@tIoU=0.5": 0.25, "eval/reward/total@visual QA": 1.0, "train/loss": 2.0}, 0)
    tracker.finish("finished")
    run = client_of(store).get_run(tracker.run_id)
    assert run.data.metrics == {"eval/R1_tIoU_0.5": 0.25, "eval/reward/total_visual QA": 1.0, "train/loss": 2.0}
    assert run.data.params == {"counts/temporal QA _MCQ_": "0"}
