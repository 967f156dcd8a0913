"""What status says, from folders, plan and scheduler."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from launchers.jobs import Job, JobState
from launchers.ledger import Launch, Ledger
from launchers.show import counts, status_table, time_left
from launchers.states import RunState, study_states
from tests.launchers.studies import chain

LAUNCH = Launch("2026-11-22T21:00:00+00:00", "slurm", (), None, False)
PENDING = JobState("PENDING", "Dependency", 0, None, False)


def found(
    tmp_path: Path, states: dict[str, JobState], logs: dict[str, str] | None = None, **changes
) -> dict[str, RunState]:
    """States of sft, rl and eval of one arm, all submitted."""
    study = chain(tmp_path, {"a": {}}, seeds=(0,))
    jobs = []
    for number, (key, run) in enumerate(study.runs.items()):
        log = tmp_path / f"{number}_0_log.out"
        if logs and key in logs:
            log.write_text(logs[key])
        jobs.append(Job(key, run.stage, run.arms, run.seeds, "slurm", str(number), str(log), None, 0, **changes))
    ledger = Ledger("study").with_launch(LAUNCH).with_jobs(*jobs)
    return {state.stage: state for state in study_states(study, ledger, states)}


def test_progress_and_time_left(tmp_path: Path) -> None:
    (tmp_path / "sft-0").mkdir()
    told = {"done": 10, "total": 40, "unit": "batches", "time_s": 0.0, "rate_per_s": 0.5}
    (tmp_path / "sft-0" / "progress.json").write_text(json.dumps(told))
    states = found(tmp_path, {"sft-0": JobState("RUNNING", "", 20, 45, True), "rl-a-0": PENDING, "eval-a-0": PENDING})
    assert (states["sft"].state, states["sft"].left_s, states["sft"].limit_s) == ("running", 60, 45)
    assert time_left(states["sft"]) == "1 min, limit in 45 s"
    assert (states["rl"].state, states["rl"].reason) == ("waiting", "the stage before it")
    status_table("s", "t", states.values())
    assert counts(list(states.values())) == "1 running, 2 waiting"


def test_a_finished_run_is_done_whatever_the_scheduler_says(tmp_path: Path) -> None:
    (tmp_path / "sft-0").mkdir()
    (tmp_path / "sft-0" / "DONE.json").write_text("{}")
    assert found(tmp_path, {"sft-0": JobState("FAILED", "", 1, 0, True)})["sft"].state == "done"


@pytest.mark.parametrize(
    ("state", "log", "reason"),
    [
        (
            JobState("FAILED", "NonZeroExitCode", 9, 0, True),
            "Traceback (most recent call last):\n  x\nKeyError: 1\n",
            "KeyError: 1",
        ),
        (JobState("FAILED", "exit code 9:0", 9, 0, True), "", "(FAILED, exit code 9:0)"),
        (JobState("TIMEOUT", "TimeLimit", 9, 0, True), "", "cluster.timeout_min"),
        (
            JobState("OUT_OF_MEMORY", "OutOfMemory", 9, 0, True),
            "Traceback (most recent call last):\n  x\nA: 1\n",
            "mem_gb",
        ),
        (JobState("NODE_FAIL", "", 9, 0, True), "", "its node failed"),
        (JobState("CANCELLED", "", 9, 0, True), "", "cancelled"),
        (JobState("PENDING", "launch failed requeued held", 0, None, True), "", "launch failed requeued held"),
        (JobState("COMPLETED", "", 9, 0, True), "", "without DONE.json"),
        (None, "", "forgotten how"),
    ],
    ids=lambda value: value.state if isinstance(value, JobState) else None,
)
def test_why_it_failed_and_that_the_next_never_runs(tmp_path: Path, state, log: str, reason: str) -> None:
    states = found(tmp_path, {"sft-0": state} if state else {}, {"sft-0": log})
    assert states["sft"].state == "failed" and reason in states["sft"].reason
    assert states["rl"].state == states["eval"].state == "will never run"
    assert states["eval"].reason == "stage sft (sft-0) failed"


def test_a_dependency_that_never_comes_is_no_waiting(tmp_path: Path) -> None:
    stuck = JobState("PENDING", "DependencyNeverSatisfied", 0, None, False)
    assert found(tmp_path, {"sft-0": stuck})["sft"].state == "will never run"


def test_cancelled_by_us(tmp_path: Path) -> None:
    states = found(tmp_path, {"sft-0": JobState("CANCELLED", "", 9, 0, True)}, cancelled=True)
    assert states["sft"].reason == "cancelled by launchers.cancel"


def test_nothing_submitted(tmp_path: Path) -> None:
    study = chain(tmp_path, {"a": {}}, seeds=(0,))
    states = study_states(study, Ledger("study"), {})
    assert {state.state for state in states} == {"never submitted"}


def test_a_broken_progress_file_is_no_progress(tmp_path: Path) -> None:
    (tmp_path / "sft-0").mkdir()
    (tmp_path / "sft-0" / "progress.json").write_text("{")
    assert found(tmp_path, {})["sft"].done is None
