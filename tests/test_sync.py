"""The command that sends what a server did not take."""

import json
import subprocess
import sys
from pathlib import Path

from o3v.sync import run_folders, sync
from o3v.tracking.delivery import Sent, read_state
from o3v.tracking.run import RunFolder
from tests.tracking.servers import IMPATIENT, history, settings_for

AWAY = "http://127.0.0.1:9"


def away(folder):
    tracker = settings_for(AWAY, IMPATIENT).start(RunFolder(folder), folder.name, {"seed": 1}, {})
    for step in range(5):
        tracker.metrics({"a": float(step)}, step)
    tracker.finish("finished")


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "o3v.sync", *arguments], capture_output=True, text=True, timeout=200, check=False
    )


def test_the_command_says_what_it_sent(tmp_path):
    for name in ("run-1", "run-2"):
        away(tmp_path / "out" / name)
    RunFolder(tmp_path / "out" / "study").write_json("mlflow.json", {"study_id": "x", "members": {}})
    assert [path.name for path in run_folders(tmp_path / "out")] == ["run-1", "run-2"]
    fails = command(f"folder={tmp_path}/out")
    assert fails.returncode == 2 and "2 of 2 runs are not sent whole" in fails.stderr + fails.stdout
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    done = command(f"folder={tmp_path}/out", f"tracking_uri={uri}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "run-1" in done.stdout and "nothing" in done.stdout
    from mlflow import MlflowClient

    state = read_state(RunFolder(tmp_path / "out" / "run-1"))
    client = MlflowClient(tracking_uri=uri)
    assert history(client, state.run_id, "a") == [(step, float(step)) for step in range(5)]
    assert client.get_run(state.run_id).info.status == "FINISHED" and client.get_run(state.run_id).data.params
    assert sync(tmp_path / "out" / "run-1", None).sent == Sent()


def test_a_folder_without_runs_is_a_sentence(tmp_path):
    done = command(f"folder={tmp_path}")
    assert done.returncode == 2 and "no run in it" in done.stderr + done.stdout and "Traceback" not in done.stderr


def test_a_run_in_progress_is_left_alone(tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    tracker = settings_for(uri).start(RunFolder(tmp_path / "run"), "run", {}, {})
    while tracker.run_id is None:
        pass
    tracker.metrics({"a": 1.0}, 0)
    outcome = sync(Path(tmp_path / "run"), None)
    assert "another process is sending" in outcome.reason or not outcome.left  # or it was sent already
    tracker.finish("finished")
    assert json.loads((tmp_path / "run" / "status.json").read_text()) == {"status": "finished"}
    assert not sync(tmp_path / "run", None).left
