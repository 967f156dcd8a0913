"""Work in processes that can be killed: a decoder that hangs or crashes costs one file, not the check.

Every job has a time limit. The parent kills a worker that passes it and starts another; should the parent itself be
gone, an alarm of the kernel ends the worker soon after. Memory is limited too, since a damaged header may ask for any
amount of it.
"""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from o3v.errors import UserError

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

START_LIMIT_S: Final = 120.0
"""How long a worker may take to import what it needs."""

GRACE_S: Final = 5.0
"""After the limit, before the worker's own alarm."""

GIB: Final = 2**30

Work = Callable[[Any], Any]
"""A job -> its result; importable, as it is named to the workers."""


@dataclass(frozen=True)
class PoolSettings:
    """How jobs are run.

    Attributes:
        workers: processes.
        limit_s: seconds a job may take.
        memory_gib: address space a worker may take beyond what it starts with.
    """

    workers: int
    limit_s: float
    memory_gib: float


@dataclass(frozen=True)
class Failure:
    """A job without a result.

    Attributes:
        timed_out: it passed its limit; otherwise its process ended.
        reason: in words.
    """

    timed_out: bool
    reason: str


class _Worker:
    """A process and what it is doing."""

    def __init__(self, work: Work, settings: PoolSettings) -> None:
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        arguments = (work, theirs, settings.limit_s + GRACE_S, int(settings.memory_gib * GIB))
        self.process: BaseProcess = context.Process(target=_serve, args=arguments, daemon=True)
        self.process.start()
        theirs.close()
        self.job: int | None = None
        self.ready = False
        self.deadline = time.monotonic() + START_LIMIT_S

    def give(self, index: int, job: Any, limit_s: float) -> None:
        self.job = index
        self.deadline = time.monotonic() + limit_s
        self.connection.send(job)

    def stop(self) -> str:
        """End the process; how it ended."""
        self.process.kill()
        self.process.join()
        self.connection.close()
        code = self.process.exitcode
        return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"


def run_jobs(work: Work, jobs: Sequence[Any], settings: PoolSettings) -> Iterator[tuple[int, Any]]:
    """Run jobs in worker processes, in any order.

    Args:
        work: module-level function of one job.
        jobs: what can be pickled.
        settings: number of workers and limits.

    Yields:
        (number of the job, its result or a `Failure`) as they are done, each job once.

    Raises:
        UserError: workers cannot be started.
    """
    waiting = list(range(len(jobs)))[::-1]
    workers: list[_Worker] = []
    try:
        for _ in range(min(settings.workers, len(jobs))):
            workers.append(_Worker(work, settings))
        while waiting or any(worker.job is not None for worker in workers):
            yield from _round(work, jobs, settings, waiting, workers)
    finally:
        for worker in workers:
            worker.stop()


def _round(
    work: Work, jobs: Sequence[Any], settings: PoolSettings, waiting: list[int], workers: list[_Worker]
) -> Iterator[tuple[int, Any]]:
    """Hand out jobs, wait for what happens first, and replace workers that are lost."""
    for worker in workers:
        if waiting and worker.ready and worker.job is None:
            index = waiting.pop()
            worker.give(index, jobs[index], settings.limit_s)
    active = [worker for worker in workers if worker.job is not None or not worker.ready]
    patience_s = min(worker.deadline for worker in active) - time.monotonic()
    heard = wait([worker.connection for worker in active], timeout=max(patience_s, 0.0))
    now = time.monotonic()
    for position, worker in enumerate(workers):
        if worker.connection in heard:
            done, lost = _hear(worker)
        else:
            done, lost = None, worker in active and now > worker.deadline
        if lost:
            done = _lost(worker, worker.connection not in heard, settings)
            workers[position] = _Worker(work, settings)
        if done is not None:
            yield done


def _hear(worker: _Worker) -> tuple[tuple[int, Any] | None, bool]:
    """(job and result, if it is one; whether the worker is lost)."""
    try:
        message = worker.connection.recv()
    except (EOFError, OSError):
        return None, True
    if not worker.ready:
        worker.ready = True
        return None, False
    index, worker.job = worker.job, None
    assert index is not None, "a worker speaks when it has a job"
    return (index, message), False


def _lost(worker: _Worker, timed_out: bool, settings: PoolSettings) -> tuple[int, Failure]:
    if not timed_out:
        worker.process.join(GRACE_S)  # it has closed its end: let it say how it ended
    ending = worker.stop()
    if worker.job is None:
        raise UserError(
            f"a worker of the check could not start ({ending}); raise memory_gib={settings.memory_gib} or lower workers"
        )
    if timed_out:
        return worker.job, Failure(True, f"not done within {settings.limit_s:g} s; the worker was killed")
    return worker.job, Failure(False, f"the worker ended ({ending})")


def _serve(work: Work, connection: Connection, alarm_s: float, memory: int) -> None:
    """A worker's life: results of `work` for what it is sent, until the other end closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted, and ends its workers
    statm = Path("/proc/self/statm")
    if statm.is_file():  # Linux; elsewhere memory is not limited
        used = int(statm.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (used + memory, used + memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    connection.send(None)
    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        signal.setitimer(signal.ITIMER_REAL, alarm_s)  # ends the process, whatever its C code is doing
        result = work(job)
        signal.setitimer(signal.ITIMER_REAL, 0)
        connection.send(result)
