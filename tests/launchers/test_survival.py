"""Runs that a true SLURM ends in the middle: they end like an undisturbed one, bit for bit, as one MLflow run.

Two runs at a time wait in their fourth batch of six (tests/slurm/gate.py) and are disturbed there.
"""

import os
import signal

import pytest

from tests import commands, tiny
from tests.slurm.training import Training, end_of, finished, log_of, mlflow_runs, same, submit

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(600)]

LIMIT_S = 180


@pytest.fixture(scope="module")
def reference(slurm, tmp_path_factory):
    """The undisturbed run, in this process; it also makes MLflow's database and the data that the others find."""
    out = tmp_path_factory.mktemp("survival")
    weights = tiny.saved_policy("qwen2_5_vl", out / "base" / "model", 1.5)
    training = Training(out, "whole", (f"init_from={weights}",))
    commands.run("train", out, *training.lines())
    return training


def waiting(slurm, reference, **partitions):
    """Runs at their gates, with their jobs: name -> (run, job)."""
    runs = {name: Training(reference.out, name, reference.overrides).close_gate() for name in partitions}
    pairs = {name: (run, submit(run, slurm_partition=partitions[name])) for name, run in runs.items()}
    for run, job in pairs.values():
        slurm.wait(lambda run=run: run.waits, LIMIT_S, f"{run.name} at its gate")
        assert slurm.state(job) == "RUNNING"
    return pairs


def requeued(slurm, run, job):
    """Lets a run go on that was told to stop: it ends its step, is requeued, starts again at once."""
    slurm.wait(lambda: run.is_asked, LIMIT_S, f"a signal in {run.name}")
    run.open_gate()
    slurm.wait(lambda: slurm.restarts(job) == 1 or slurm.state(job) == "PENDING", LIMIT_S, f"{run.name} requeued")
    slurm.release(job)


def check(training, reference, text):
    assert same(end_of(training), end_of(reference)), text
    states, counts = mlflow_runs(training)
    assert states == ["FINISHED"] and set(counts) == {1}


@pytest.fixture(scope="module")
def told(slurm, reference):
    """One run by its warning signal, one by a bare requeue."""
    pairs = waiting(slurm, reference, signal="main", requeue="main")
    slurm.signal(pairs["signal"][1])
    slurm.requeue(pairs["requeue"][1])
    for run, job in pairs.values():
        requeued(slurm, run, job)
    for run, job in pairs.values():
        slurm.wait_restart(job, timeout_s=LIMIT_S)
        finished(slurm, run, job)
    return pairs


@pytest.fixture(scope="module")
def thrown_out(slurm, reference):
    """One run by jobs of a higher partition, one killed and submitted again."""
    pairs = waiting(slurm, reference, preemption="preempt", kill="main")
    killed, first = pairs["kill"]
    for pid in slurm.pids(first):
        os.kill(pid, signal.SIGKILL)
    assert slurm.wait_state(first) == "FAILED"
    killed.open_gate()
    pairs["kill"] = killed, submit(killed)
    preempted, job = pairs["preemption"]
    with slurm.crowded(cpus=13):  # of 16, of which each run has 2
        requeued(slurm, preempted, job)
    slurm.wait_restart(job, timeout_s=LIMIT_S)
    for run, number in pairs.values():
        finished(slurm, run, number)
    return pairs


@pytest.mark.parametrize("how", ["signal", "requeue"])
def test_a_run_that_is_told_to_stop_goes_on_from_the_step_that_it_was_in(how, told, reference, slurm):
    training, job = told[how]
    text = log_of(training, job)
    assert "interrupted: batch 4 of 6" in text and "last.ckpt, batch 4 of 6" in text, text
    assert slurm.restarts(job) == 1
    check(training, reference, text)


def test_a_preempted_run_goes_on_from_the_step_that_it_was_in(thrown_out, reference, slurm):
    training, job = thrown_out["preemption"]
    text = log_of(training, job)
    assert "interrupted: batch 4 of 6" in text and "last.ckpt, batch 4 of 6" in text, text
    assert slurm.restarts(job) == 1
    check(training, reference, text)


def test_a_killed_run_goes_on_from_the_state_before(thrown_out, reference):
    training, job = thrown_out["kill"]
    text = log_of(training, job)
    assert "last.ckpt, batch 3 of 6" in text, text
    check(training, reference, text)


def test_the_runs_say_how_far_they_are(told, reference):
    for training in (told["signal"][0], reference):
        progress = training.progress()
        assert (progress["done"], progress["total"], progress["unit"]) == (6, 6, "batches")


@pytest.mark.slow
def test_a_run_longer_than_its_time_limit(slurm, reference):
    """A true limit of one minute; SLURM's warning comes up to a minute early, so the run waits for it at its gate."""
    training = Training(reference.out, "limit", reference.overrides).close_gate()
    job = submit(training, timeout_min=1, slurm_signal_delay_s=25)
    requeued(slurm, training, job)
    slurm.wait_restart(job, timeout_s=LIMIT_S)
    finished(slurm, training, job)
    text = log_of(training, job)
    assert "Job has timed out" in text and "interrupted: batch 4 of 6" in text, text
    check(training, reference, text)
