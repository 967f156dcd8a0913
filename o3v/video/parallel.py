"""Work in order by several threads, each with a resource of its own, and no more results waiting than a few."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from multiprocessing import current_process
from queue import Full, Queue
from typing import Any, Final, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")

MOST_THREADS: Final = 8
WAITING: Final = 2
"""Results of a thread that may wait to be taken: frames of a large film fill memory."""
POLL_S: Final = 0.1
_END: Final = object()


def free_threads() -> int:
    """Threads that decoding may use here: one in a loader worker, whose siblings have the other cores."""
    return 1 if current_process().daemon else min(len(os.sched_getaffinity(0)), MOST_THREADS)


def in_order(
    jobs: Sequence[Job], n_threads: int, worker: Callable[[], AbstractContextManager[Callable[[Job], Iterator[Result]]]]
) -> Iterator[tuple[int, Result]]:
    """Results of every job, jobs in their order, while later jobs are worked on.

    Args:
        jobs: thread k takes jobs k, k + n_threads, ...
        n_threads: at least 1.
        worker: opened once a thread; gives what turns a job into results.

    Yields:
        (number of the job, result). Leaving the loop stops the threads.

    Raises:
        Exception: whatever a thread raised, at its place in the order.
    """
    stop = threading.Event()
    queues: list[Queue[Any]] = [Queue(WAITING) for _ in range(n_threads)]
    threads = [
        threading.Thread(target=_work, args=(jobs[k::n_threads], worker, queues[k], stop), daemon=True)
        for k in range(n_threads)
    ]
    with _running(threads, stop):
        for number in range(len(jobs)):
            while (item := queues[number % n_threads].get()) is not _END:
                if isinstance(item, BaseException):
                    raise item
                yield number, item[0]


@contextmanager
def _running(threads: list[threading.Thread], stop: threading.Event) -> Iterator[None]:
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _work(jobs: Sequence[Any], worker: Callable[[], Any], queue: Queue[Any], stop: threading.Event) -> None:
    try:
        with worker() as results_of:
            for job in jobs:
                for result in results_of(job):
                    if not _put(queue, (result,), stop):
                        return
                if not _put(queue, _END, stop):
                    return
    except BaseException as error:  # noqa: BLE001 (raised again by who takes the results)
        _put(queue, error, stop)


def _put(queue: Queue[Any], item: object, stop: threading.Event) -> bool:
    """Wait for room; False once nobody takes anything any more."""
    while not stop.is_set():
        try:
            queue.put(item, timeout=POLL_S)
        except Full:
            continue
        return True
    return False
