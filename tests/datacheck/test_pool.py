"""Workers that hang, crash, raise or eat memory cost their own job; every job is answered once."""

from __future__ import annotations

import os
import signal
import time

import pytest

from o3v.datacheck import pool
from o3v.datacheck.pool import Failure, PoolSettings, run_jobs
from o3v.errors import UserError

QUICK = PoolSettings(workers=2, limit_s=1.0, memory_gib=1.0)


def behave(job):
    """A job that does what it says."""
    if job == "hang":
        time.sleep(1000)
    if job == "hang for good":
        signal.pthread_sigmask(signal.SIG_BLOCK, range(1, signal.NSIG))
        time.sleep(1000)
    if job == "die":
        os._exit(7)
    if job == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if job == "raise":
        raise ZeroDivisionError
    if job == "eat":
        return len(bytearray(8 * 2**30))
    return f"{job} done"


def test_every_job_is_answered_once():
    jobs = ["a", "hang", "b", "crash", "die", "c", "raise", "eat", "hang for good", *map(str, range(20))]
    answers = list(run_jobs(behave, jobs, QUICK))
    assert sorted(index for index, _ in answers) == list(range(len(jobs)))
    found = dict(answers)
    by_job = {job: found[index] for index, job in enumerate(jobs)}
    assert by_job["hang"].timed_out and by_job["hang for good"].timed_out
    assert by_job["hang"].reason == "not done within 1 s; the worker was killed"
    assert by_job["crash"] == Failure(False, "the worker ended (signal 11)")
    assert by_job["die"] == Failure(False, "the worker ended (exit code 7)")
    assert isinstance(by_job["raise"], Failure) and isinstance(by_job["eat"], Failure)
    assert [by_job[str(n)] for n in range(20)] == [f"{n} done" for n in range(20)]


def test_no_job_starts_no_worker():
    assert list(run_jobs(behave, [], QUICK)) == []


def test_workers_end_when_the_caller_stops_listening():
    running = run_jobs(behave, [str(n) for n in range(50)], QUICK)
    next(running)
    running.close()


def test_a_worker_that_cannot_start_says_so(monkeypatch):
    monkeypatch.setattr(pool, "START_LIMIT_S", 0.0)
    with pytest.raises(UserError, match=r"a worker of the check could not start .*memory_gib=1\.0"):
        list(run_jobs(behave, [1], QUICK))
