"""Eight jobs that log at the same time to a store that nobody has made before."""

import json
import subprocess
import sys

import pytest

from o3v.tracking.run import RunFolder
from o3v.tracking.study_runs import open_study_runs
from tests.tracking.servers import assert_once_in_order, settings_for
from tests.tracking.test_mlflow_tracker import client_of

JOBS, STEPS = 8, 200

JOB = """
import json, os, sys, time
from pathlib import Path
from o3v.tracking.run import RunFolder
from tests.tracking.servers import settings_for
root, number, parent = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
folder = root / f"run-{number}"
settings = settings_for(f"sqlite:///{root}/mlflow.db", parent=parent or None, tags={"arm": f"arm{number}"})
tracker = settings.start(RunFolder(folder), f"run-{number}", {"number": number}, {})
told = time.perf_counter()
for step in range(200):
    tracker.metrics({"train/loss": float(step)}, step)
told_s = time.perf_counter() - told
ended = time.perf_counter()
tracker.finish("finished")
finish_s = time.perf_counter() - ended
(folder / "told.json").write_text(json.dumps({"run_id": tracker.run_id, "told_s": told_s, "finish_s": finish_s}))
"""


def check(root):
    client = client_of(root / "mlflow.db")
    told = [json.loads((root / f"run-{number}" / "told.json").read_text()) for number in range(JOBS)]
    assert len({job["run_id"] for job in told}) == JOBS
    for number, job in enumerate(told):
        run = client.get_run(job["run_id"])
        assert run.info.status == "FINISHED" and run.data.params == {"number": str(number)}
        assert_once_in_order(client, job["run_id"], "train/loss", [(step, float(step)) for step in range(STEPS)])
    return told


@pytest.mark.slow
def test_eight_processes_on_a_store_that_does_not_exist(tmp_path):
    running = [
        subprocess.Popen([sys.executable, "-c", JOB, str(tmp_path), str(number), ""], stderr=subprocess.PIPE, text=True)
        for number in range(JOBS)
    ]
    errors = [process.communicate(timeout=280)[1] for process in running]
    assert all(process.returncode == 0 for process in running), errors
    check(tmp_path)
    assert sorted(item.name for item in client_of(tmp_path / "mlflow.db").search_experiments()) == ["Default", "exp"]
    import sqlite3

    assert sqlite3.connect(tmp_path / "mlflow.db").execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.slurm
def test_eight_slurm_jobs_below_one_study(slurm, tmp_path):
    settings = settings_for(f"sqlite:///{tmp_path}/mlflow.db")
    members = [(f"arm{number}", 0) for number in range(JOBS)]
    study = open_study_runs(settings, RunFolder(tmp_path / "study"), "eight", members, {})  # as a submit does
    (tmp_path / "job.py").write_text(JOB)
    (tmp_path / "parents").write_text("".join(f"{study.member_ids[member]}\n" for member in members))
    mine = f'$(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" {tmp_path}/parents)'
    script = f"exec {sys.executable} {tmp_path}/job.py {tmp_path} $SLURM_ARRAY_TASK_ID {mine}\n"
    array = slurm.sbatch(script, f"--array=0-{JOBS - 1}", f"--output={tmp_path}/%a.log")
    states = [slurm.wait_state(f"{array}_{number}", timeout_s=200) for number in range(JOBS)]
    logs = [(tmp_path / f"{number}.log").read_text() for number in range(JOBS)]
    assert states == ["COMPLETED"] * JOBS, logs
    told = check(tmp_path)
    assert all(job["told_s"] + job["finish_s"] < 10 for job in told), told
    client = client_of(tmp_path / "mlflow.db")
    for job, member in zip(told, members, strict=True):
        assert client.get_run(job["run_id"]).data.tags["mlflow.parentRunId"] == study.member_ids[member]
