"""A study on this machine, without SLURM: each run starts when its parent is done and a place is free.

`cluster=local` runs them as processes of submitit's local executor, up to `cluster.array_parallelism` at a time;
`cluster=inline` runs them here, one after the other. A run that fails stops those behind it, and nothing else.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from launchers.jobs import Job
from launchers.resources import local_parameters, resources_of
from launchers.stage import StageJob
from o3v.cluster import repository
from o3v.errors import UserError
from o3v.study import StageRun, Study

log = logging.getLogger(__name__)

POLL_S = 0.2
STOP_WAIT_S = 5.0

Record = Callable[[Job], None]
"""Told of every job when it starts, so that plan.json knows it."""


@dataclass(frozen=True)
class Outcome:
    """How a local launch ended: keys of the runs that are done, that failed, and that were not started."""

    done: tuple[str, ...]
    failed: tuple[str, ...]
    skipped: tuple[str, ...]


def run_inline(
    runs: Sequence[StageRun], job_of: Callable[[StageRun], StageJob], record: Record, launch: int
) -> Outcome:
    """Run here, in order; a failure is logged with its traceback, and the runs behind it are left out."""
    done: list[str] = []
    failed: list[str] = []
    skipped: list[str] = []
    for run in runs:
        if run.parent in failed or run.parent in skipped:
            skipped.append(run.key)
            continue
        record(replace(new_job(run, "inline", launch), id=str(os.getpid()), started=start_time(os.getpid())))
        try:
            job_of(run)()
        except UserError as error:
            log.error("%s failed: %s", run.key, error)
            failed.append(run.key)
        except Exception:  # whatever a stage raises, the other arms go on
            log.exception("%s failed", run.key)
            failed.append(run.key)
        else:
            done.append(run.key)
    return Outcome(tuple(done), tuple(failed), tuple(skipped))


def run_local(
    study: Study, runs: Sequence[StageRun], job_of: Callable[[StageRun], StageJob], record: Record, launch: int
) -> Outcome:
    """Run as processes, several at a time; returns when all have ended or cannot start.

    Args:
        study: whose folder holds the logs.
        runs: to do, parents first.
        job_of: makes the job of a run.
        record: told of each start.
        launch: number of the launch.
    """
    queue = {run.key: run for run in runs}
    active: dict[str, tuple[Any, int]] = {}
    done: list[str] = []
    failed: list[str] = []
    skipped: list[str] = []
    while queue or active:
        for key in [key for key, (job, _) in active.items() if job.done()]:
            del active[key]
            (done if study.runs[key].done() is not None else failed).append(key)
        for run in _ready(queue, active, [*failed, *skipped]):
            del queue[run.key]
            if run.parent in failed or run.parent in skipped:
                skipped.append(run.key)
                continue
            slot = _free_slot([slot for _, slot in active.values()])
            active[run.key] = (_start(study, run, job_of(run), slot, record, launch), slot)
        time.sleep(POLL_S)
    return Outcome(tuple(done), tuple(failed), tuple(skipped))


def _ready(queue: dict[str, StageRun], active: dict[str, Any], ended: Sequence[str]) -> Iterator[StageRun]:
    """Runs that can start now, or that never will; as many as there are places."""
    for run in list(queue.values()):
        if run.parent in queue or run.parent in active:
            continue
        if run.parent in ended or len(active) < run.resources["array_parallelism"]:
            yield run


def _free_slot(taken: Sequence[int]) -> int:
    return next(slot for slot in range(len(taken) + 1) if slot not in taken)


def _start(study: Study, run: StageRun, stage: StageJob, slot: int, record: Record, launch: int) -> Any:
    """Start one process; its id is that of submitit's controller, which restarts it where it asks for that."""
    from submitit.core.utils import JobPaths
    from submitit.local.local import LocalExecutor

    folder = study.folder / "jobs" / run.stage
    executor = LocalExecutor(folder, max_num_timeout=run.resources["max_num_timeout"])
    executor.update_parameters(**local_parameters(resources_of(run), slot))
    with _found_by_jobs():
        job = executor.submit(stage)
    started = replace(
        new_job(run, "local", launch),
        id=job.job_id,
        log=str(JobPaths(folder, job.job_id, 0).stdout),
        started=start_time(int(job.job_id)),
    )
    record(started)
    log.info("%s runs as process %s", run.key, job.job_id)
    return job


def new_job(run: StageRun, kind: Any, launch: int) -> Job:
    """The job of a run that has not started."""
    return Job(run.key, run.stage, run.arms, run.seeds, kind, None, None, None, launch)


def start_time(pid: int) -> int | None:
    """When a process started, in the kernel's ticks; None where it does not run (or the system does not say)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in ("Z", "X") else int(fields[19])


def is_alive(pid: int, started: int | None) -> bool:
    """Whether the very process still runs, and not a later one of the same id."""
    return started is not None and start_time(pid) == started


def stop_process(pid: int, started: int | None) -> None:
    """End a process of ours with what it started: INT, and after a few seconds KILL; children first would come back."""
    children = _children(pid)
    known = {child: start_time(child) for child in children}
    if not is_alive(pid, started):
        return
    os.kill(pid, signal.SIGINT)
    until = time.monotonic() + STOP_WAIT_S
    while is_alive(pid, started) and time.monotonic() < until:
        time.sleep(0.05)
    for process, ticks in {pid: started, **known}.items():
        if is_alive(process, ticks):
            os.kill(process, signal.SIGKILL)


def _children(pid: int) -> list[int]:
    """Processes that a process started, and theirs."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8")
    except OSError:
        return []
    direct = [int(word) for word in text.split()]
    return [*direct, *(grandchild for child in direct for grandchild in _children(child))]


@contextmanager
def _found_by_jobs() -> Iterator[None]:
    """The repository on PYTHONPATH of what is started inside."""
    from submitit.core.utils import environment_variables

    path = os.pathsep.join(filter(None, (str(repository()), os.environ.get("PYTHONPATH"))))
    with environment_variables(PYTHONPATH=path):
        yield
