"""Threads give the same results in the same order, stop when nobody listens, and pass their errors on."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context

import pytest

from o3v.video.parallel import free_threads, in_order

CLOSED: list[int] = []


@contextmanager
def worker():
    def results(job: int) -> Iterator[tuple[int, int]]:
        if job == 13:
            raise ValueError("job 13")
        for part in range(job % 4):
            time.sleep(0.001)
            yield job, part

    yield results
    CLOSED.append(1)


@pytest.mark.parametrize("n_threads", [1, 2, 3, 8])
def test_results_come_in_the_order_of_the_jobs(n_threads: int):
    jobs = [0, 3, 2, 0, 1, 7, 3, 3, 2]
    expected = [(number, (job, part)) for number, job in enumerate(jobs) for part in range(job % 4)]
    assert list(in_order(jobs, n_threads, worker)) == expected


def test_an_error_comes_at_its_place():
    seen = []
    with pytest.raises(ValueError, match="job 13"):
        for number, _ in in_order([3, 2, 13, 3], 2, worker):
            seen.append(number)
    assert seen == [0, 0, 0, 1, 1]


def test_who_stops_listening_ends_the_threads():
    before, CLOSED[:] = threading.active_count(), []
    results = in_order([3] * 50, 4, worker)
    next(results)
    results.close()
    assert threading.active_count() == before and len(CLOSED) == 4


def _in_child(queue) -> None:
    queue.put(free_threads())


def test_a_loader_worker_keeps_to_one_thread():
    context = get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=_in_child, args=(queue,), daemon=True)
    child.start()
    assert queue.get() == 1 and free_threads() >= 1
    child.join()
