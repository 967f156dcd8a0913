"""How far every run of a study is, from its folder, plan.json, and what the scheduler and the job's log say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launchers.jobs import Job, JobState
from launchers.ledger import Ledger
from launchers.local import is_alive
from launchers.logs import error_in
from launchers.scheduler import query
from o3v.study import StageRun, Study

DONE, RUNNING, WAITING, FAILED = "done", "running", "waiting", "failed"
NEVER_SUBMITTED, NEVER_RUNS = "never submitted", "will never run"

ENDS = {
    "TIMEOUT": "reached its time limit too often; raise cluster.timeout_min or cluster.max_num_timeout",
    "OUT_OF_MEMORY": "out of memory; raise cluster.mem_gb",
    "NODE_FAIL": "its node failed",
    "BOOT_FAIL": "its node did not start",
    "PREEMPTED": "was preempted and not started again",
    "DEADLINE": "missed its deadline",
}
"""State in which SLURM ended a job -> what it means."""

WAITS = {
    "Dependency": "the stage before it",
    "Resources": "free nodes",
    "Priority": "jobs with a higher priority",
    "JobArrayTaskLimit": "its turn (cluster.array_parallelism at a time)",
    "BeginTime": "its next start after a requeue",
    "PartitionTimeLimit": "nothing that comes: cluster.timeout_min is above the partition's limit",
    "PartitionConfig": "nothing that comes: the partition does not allow this size or time",
    "AssocGrpGRES": "GPUs of the account's share",
    "QOSMaxJobsPerUserLimit": "the end of other jobs of yours (limit of the qos)",
    "JobHeldUser": "you: scontrol release",
    "JobHeldAdmin": "an administrator: it is held",
}
"""Reason of waiting -> what it waits for."""


@dataclass(frozen=True)
class RunState:
    """One run as `launchers.status` shows it.

    Attributes:
        key, stage, arms, seeds: of the run.
        state: done, running, waiting, failed, never submitted, will never run.
        reason: of waiting or of the failure, "" otherwise.
        job: id, None where there is none.
        log: file, None where there is none.
        done, total, unit: progress; None where the run has not said any.
        left_s: until the end at the present rate; None where unknown.
        limit_s: until the job's time limit; None where unknown.
    """

    key: str
    stage: str
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    state: str
    reason: str
    job: str | None
    log: str | None
    done: int | None
    total: int | None
    unit: str | None
    left_s: int | None
    limit_s: int | None


def job_states(ledger: Ledger) -> dict[str, JobState]:
    """Key of a run -> what the scheduler says of its last job; those of which it knows nothing are left out.

    Raises:
        ServiceError: there are jobs of SLURM, and it does not answer.
    """
    slurm = {job.id: key for key, job in ledger.jobs.items() if job.kind == "slurm" and job.id is not None}
    found = {slurm[job_id]: state for job_id, state in query(list(slurm)).items()}
    return found | {key: state for key, job in ledger.jobs.items() if (state := _local_state(job, ledger))}


def _local_state(job: Job, ledger: Ledger) -> JobState | None:
    """Of a job on this machine: running, waiting while the program that starts them lives, else ended."""
    if job.kind == "slurm":
        return None
    driven = ledger.driver is not None and is_alive(*ledger.driver)
    if job.id is not None:
        alive = driven if job.kind == "inline" else is_alive(int(job.id), job.started)
        return JobState("RUNNING" if alive else "ENDED", "", None, None, True)
    if driven:
        return JobState("PENDING", "JobArrayTaskLimit", None, None, False)
    return None


def study_states(study: Study, ledger: Ledger, states: Mapping[str, JobState]) -> list[RunState]:
    """The state of every run, parents first.

    Args:
        study: with its runs.
        ledger: what was submitted.
        states: from `job_states`.
    """
    found: dict[str, RunState] = {}
    for run in study.runs.values():
        parent = found.get(run.parent) if run.parent is not None else None
        found[run.key] = _run_state(run, ledger.jobs.get(run.key), states.get(run.key), parent)
    return list(found.values())


def _run_state(run: StageRun, job: Job | None, state: JobState | None, parent: RunState | None) -> RunState:
    word, reason = _word(run, job, state, parent)
    progress = read_progress(run.folder)
    rate, done, total = progress.get("rate_per_s"), progress.get("done"), progress.get("total")
    is_running = word == RUNNING
    return RunState(
        key=run.key,
        stage=run.stage,
        arms=run.arms,
        seeds=run.seeds,
        state=word,
        reason=reason,
        job=job.id if job is not None else None,
        log=job.log if job is not None else None,
        done=done,
        total=total,
        unit=progress.get("unit"),
        left_s=round((total - done) / rate) if is_running and rate and total is not None and done is not None else None,
        limit_s=state.left_s if is_running and state is not None else None,
    )


def _word(run: StageRun, job: Job | None, state: JobState | None, parent: RunState | None) -> tuple[str, str]:
    """State and reason."""
    if run.done() is not None:
        return DONE, ""
    if state is not None and state.is_running:
        return RUNNING, ""
    if state is not None and state.is_waiting:
        return WAITING, WAITS.get(state.reason, state.reason)
    if parent is not None and parent.state in (FAILED, NEVER_RUNS) and (state is None or not state.ran):
        blamed = parent.reason if parent.state == NEVER_RUNS else f"stage {parent.stage} ({parent.key}) failed"
        return NEVER_RUNS, blamed
    if job is None:
        return NEVER_SUBMITTED, ""
    if state is not None and state.is_stuck:
        return (NEVER_RUNS if not state.ran and "ependency" in state.reason else FAILED), state.reason
    return (FAILED, _failure(job, state)) if job.id is not None else (NEVER_SUBMITTED, "")


def _failure(job: Job, state: JobState | None) -> str:
    """Why a job ended without its run being done."""
    if job.cancelled:
        return "cancelled by launchers.cancel"
    if state is not None and state.state in ENDS:
        return ENDS[state.state]
    error = error_in(job.log)
    if state is not None and state.state == "CANCELLED":
        return f"cancelled{': ' + error if error and 'CANCELLED' not in error else ''}"
    if error is not None:
        return error
    if state is None:
        return "ended, and the scheduler has forgotten how"
    known = f"{state.state}, {state.reason}".strip(", ")
    return f"ended without DONE.json and without an error in its log ({known})"


def read_progress(folder: Path) -> dict[str, Any]:
    """progress.json of a run's folder; {} where there is none that can be read."""
    try:
        content = json.loads((folder / "progress.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
