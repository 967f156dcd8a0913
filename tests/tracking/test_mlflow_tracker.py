"""Runs in MLflow: what arrives, over several lives, and that the training thread never waits for a server."""

import json
import socket
import sqlite3
import subprocess
import sys
import threading

import pytest
from PIL import Image

from o3v.errors import ConfigError
from o3v.tracking.delivery import read_state
from o3v.tracking.journal import read_lines
from o3v.tracking.mlflow_database import connect
from o3v.tracking.mlflow_store import MlflowRun
from o3v.tracking.mlflow_tracker import MlflowTracker
from o3v.tracking.run import RunFolder
from tests.tracking.servers import IMPATIENT, assert_once_in_order, history, settings_for, wait_until


def settings(database, **more):
    return settings_for(f"sqlite:///{database}", **more)


def client_of(database):
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=f"sqlite:///{database}")


def kept(database, run_id):
    return database.parent / "mlflow.artifacts" / run_id / "artifacts"


def table(database, run_id, name):
    found = json.loads((kept(database, run_id) / "tables" / f"{name}.json").read_text())
    return [dict(zip(found["columns"], row, strict=True)) for row in found["data"]]


def test_a_run_and_its_continuation_are_one_mlflow_run(database, tmp_path):
    folder = RunFolder(tmp_path / "run")
    picture = Image.new("RGB", (8, 8))
    first = settings(database, parent="p", tags={"arm": "o3", "seed": "0"}).start(
        folder, "rl-1", {"model": {"lr": 0.1}, "seed": 0}, {"git": "c"}
    )
    for step in range(8):
        first.metrics({"train/loss": 1.0 / (step + 1)}, step)
    first.table("completions", [{"text": "a", "total": 1.0, "picture": picture}], 0)
    first.image("evidence", picture, 0)
    first.finish("interrupted")

    client, run_id = client_of(database), first.run_id
    assert client.get_run(run_id).info.status == "KILLED"
    second = settings(database).start(folder, "rl-1", {"model": {"lr": 0.2}, "new": 1}, {})
    for step in range(6, 12):  # 6 and 7 are told a second time
        second.metrics({"train/loss": 1.0 / (step + 1)}, step)
    second.table("completions", [{"text": "a", "total": 1.0}], 0)
    second.table("completions", [{"text": "b", "total": float("nan"), "picture": picture}], 10)
    second.image("evidence", picture, 0)
    wait_until(lambda: client.get_run(run_id).info.status == "RUNNING", 30, "not running again")
    second.finish("finished")

    run = client.get_run(run_id)
    assert second.run_id == run_id and run.info.status == "FINISHED" and run.info.run_name == "o3 seed 0 rl-1"
    assert_once_in_order(client, run_id, "train/loss", [(step, 1.0 / (step + 1)) for step in range(12)])
    assert run.data.params == {"model/lr": "0.1", "seed": "0", "new": "1"}
    tags = {"mlflow.parentRunId": "p", "seed": "0", "arm": "o3", "git": "c", "run": "rl-1"}
    assert tags.items() <= run.data.tags.items() and "completions.json" in run.data.tags["mlflow.loggedArtifacts"]
    rows = table(database, run_id, "completions")
    assert [(row["step"], row["text"], row["total"]) for row in rows] == [(0, "a", 1.0), (10, "b", None)]
    for row in rows:
        assert row["picture"]["type"] == "image"
        assert (kept(database, run_id) / row["picture"]["filepath"]).is_file()
        assert (kept(database, run_id) / row["picture"]["compressed_filepath"]).is_file()
    assert len(list((kept(database, run_id) / "images").glob("evidence+step+0+*.png"))) == 1
    assert len(list(read_lines(tmp_path / "run" / "metrics.jsonl"))) == 12


def test_the_picture_series_is_the_one_that_mlflow_itself_writes(database, tmp_path):
    tracker = settings(database).start(RunFolder(tmp_path / "run"), "n", {}, {})
    tracker.image("train/evidence", Image.new("RGB", (600, 400)), 3)
    tracker.finish("finished")
    client = client_of(database)
    ours = [path.name for path in (kept(database, tracker.run_id) / "images").iterdir()]
    client.log_image(tracker.run_id, Image.new("RGB", (600, 400)), key="train/evidence", step=3)
    theirs = [path.name for path in (kept(database, tracker.run_id) / "images").iterdir() if path.name not in ours]
    assert [len(name.split("+")) for name in sorted(ours)] == [len(name.split("+")) for name in sorted(theirs)]
    assert {name.split("+timestamp")[0] for name in ours + theirs} == {"train~evidence+step+3"}


def test_names_that_mlflow_does_not_take_are_stored_under_near_ones(database, tmp_path):
    tracker = settings(database).start(RunFolder(tmp_path / "run"), "n", {"counts": {"temporal QA (MCQ)": 0}}, {})
    values = {f"k{i}": 0.0 for i in range(1500)}  # more than MLflow takes at once
    tracker.metrics({"eval/R1@tIoU=0.5": 0.25, "eval/reward/total@visual QA": float("nan"), **values}, 0)
    tracker.finish("finished")
    run = client_of(database).get_run(tracker.run_id)
    assert run.data.metrics["eval/R1_tIoU_0.5"] == 0.25 and len(run.data.metrics) == 1502
    assert run.data.params == {"counts/temporal QA _MCQ_": "0"}


def test_a_run_that_the_store_lost_is_made_anew_with_all_metrics(database, tmp_path):
    folder = RunFolder(tmp_path / "run")
    first = settings(database).start(folder, "lost", {"a": 1}, {})
    first.metrics({"a": 1.0}, 0)
    first.finish("interrupted")
    client, lost = client_of(database), first.run_id
    client.delete_run(lost)
    second = settings(database).start(folder, "lost", {}, {})
    second.metrics({"a": 1.0}, 1)
    second.finish("finished")
    assert second.run_id != lost and client.get_run(second.run_id).data.params == {"a": "1"}
    assert history(client, second.run_id, "a") == [(0, 1.0), (1, 1.0)]


def test_one_thing_that_is_refused_keeps_nothing_from_the_rest(database, tmp_path, monkeypatch, caplog):
    def refuse(run, path, folder):
        if path.name == "big.bin":
            raise PermissionError(path)
        log_artifact(run, path, folder)

    log_artifact = MlflowRun.log_artifact
    monkeypatch.setattr(MlflowRun, "log_artifact", refuse)
    folder = RunFolder(tmp_path / "run")
    tracker = settings(database).start(folder, "n", {}, {})
    for name in ("big.bin", "small.txt"):
        (tmp_path / "run" / name).write_text("x")
        tracker.artifact(tmp_path / "run" / name, "")
    tracker.artifact(tmp_path / "run" / "absent", "")
    tracker.finish("finished")
    there = kept(database, tracker.run_id)
    assert client_of(database).get_run(tracker.run_id).info.status == "FINISHED"
    assert (there / "small.txt").exists() and not (there / "big.bin").exists()
    assert "refused artifact" in caplog.text and len(read_state(folder).refused) == 1
    monkeypatch.setattr(MlflowRun, "log_artifact", log_artifact)
    settings(database).start(folder, "n", {}, {}).finish("finished")
    assert (there / "big.bin").exists() and read_state(folder).refused == ()


class Watch:
    """Counts, by thread, what reaches out of the process: connections, and openings of the database."""

    def __init__(self, monkeypatch):
        self.by_thread = {}
        self._wrap(monkeypatch, socket.socket, "connect")
        self._wrap(monkeypatch, socket.socket, "connect_ex")
        self._wrap(monkeypatch, sqlite3, "connect")

    def _wrap(self, monkeypatch, owner, name):
        real = getattr(owner, name)

        def counted(*arguments, **named):
            thread = threading.current_thread().name
            self.by_thread[thread] = self.by_thread.get(thread, 0) + 1
            return real(*arguments, **named)

        monkeypatch.setattr(owner, name, counted)

    def training_calls(self):
        return self.by_thread.get(threading.main_thread().name, 0)


def tell_everything(tracker, path):
    path.write_text("x")
    for step in range(200):
        tracker.metrics({"a": 1.0}, step)
    tracker.params({"b": 1})
    tracker.tags({"c": "1"})
    tracker.table("t", [{"x": 1}], 0)
    tracker.image("i", Image.new("RGB", (8, 8)), 0)
    tracker.artifact(path, "")


def test_the_training_thread_calls_no_server(tmp_path, monkeypatch):
    watch = Watch(monkeypatch)
    silent = socket.socket()  # takes connections and never answers
    silent.bind(("127.0.0.1", 0))
    silent.listen(64)
    where = f"http://127.0.0.1:{silent.getsockname()[1]}"
    tracker = settings_for(where, IMPATIENT).start(RunFolder(tmp_path / "run"), "n", {}, {})
    tell_everything(tracker, tmp_path / "x")
    wait_until(lambda: watch.by_thread.get("o3v-sender", 0) > 0, 30, "the sender never tried")
    tracker.finish("finished")
    assert watch.training_calls() == 0 and set(watch.by_thread) == {"o3v-sender"}
    assert len(list(read_lines(tmp_path / "run" / "metrics.jsonl"))) == 200
    silent.close()


def test_sending_in_the_training_thread_is_caught(tmp_path, monkeypatch):
    def blocking(tracker, values, step):
        tell(tracker, values, step)
        with pytest.raises(MlflowException):
            connect(away.store)

    from mlflow.exceptions import MlflowException

    tell, away = MlflowTracker.metrics, settings_for("http://127.0.0.1:9", IMPATIENT)
    monkeypatch.setattr(MlflowTracker, "metrics", blocking)
    watch = Watch(monkeypatch)
    tracker = away.start(RunFolder(tmp_path / "run"), "n", {}, {})
    assert watch.training_calls() == 0
    tracker.metrics({"a": 1.0}, 0)
    assert watch.training_calls() > 0
    tracker.finish("finished")


@pytest.mark.parametrize("uri", ["file:///tmp/mlruns", "mlruns", "/tmp/mlruns"])
def test_file_stores_are_refused_with_a_sentence(uri):
    with pytest.raises(ConfigError, match=r"logger\.tracking_uri"):
        settings_for(uri)


def test_a_process_that_died_while_making_the_database_does_no_harm(tmp_path):
    (tmp_path / ".mlflow.db.new").write_bytes(b"half made")
    (tmp_path / "mlflow.db").touch()
    tracker = settings(tmp_path / "mlflow.db").start(RunFolder(tmp_path / "run"), "n", {}, {})
    tracker.finish("finished")
    assert client_of(tmp_path / "mlflow.db").get_run(tracker.run_id).info.status == "FINISHED"
    assert not (tmp_path / ".mlflow.db.new").exists()


KILLED = """
import os, sys, signal
from pathlib import Path
from o3v.tracking.run import RunFolder
from tests.tracking.servers import settings_for, wait_until
from o3v.tracking.delivery import read_state
folder = RunFolder(Path(sys.argv[2]))
tracker = settings_for("sqlite:///" + sys.argv[1]).start(folder, "n", {}, {})
for step in range(50):
    tracker.metrics({"a": float(step)}, step)
wait_until(lambda: read_state(folder).sent_bytes > 0, 60, "nothing sent")
tracker.metrics({"a": 50.0}, 50)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_kill_9_loses_and_doubles_nothing(database, tmp_path):
    done = subprocess.run([sys.executable, "-c", KILLED, str(database), str(tmp_path / "run")], timeout=200)
    assert done.returncode == -9
    client = client_of(database)
    again = settings(database).start(RunFolder(tmp_path / "run"), "n", {}, {})
    for step in range(40, 60):
        again.metrics({"a": float(step)}, step)
    again.finish("finished")
    assert_once_in_order(client, again.run_id, "a", [(step, float(step)) for step in range(60)])
    (experiment,) = [item for item in client.search_experiments() if item.name == "exp"]
    assert len(client.search_runs([experiment.experiment_id])) == 1
