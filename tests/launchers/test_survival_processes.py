"""Two processes as a job of a true SLURM: they train one model, go on after a requeue, and refuse a wrong number.

The undisturbed one lives through a restart of the scheduler.
"""

import pytest

from tests import tiny
from tests.slurm.training import TWO, Training, end_of, finished, log_of, same, submit

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900)]

LIMIT_S = 300
JSONL = "logger=jsonl"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    out = tmp_path_factory.mktemp("processes")
    return out, (f"init_from={tiny.saved_policy('qwen2_5_vl', out / 'base' / 'model', 1.5)}", *TWO, JSONL)


@pytest.fixture(scope="module")
def undisturbed(slurm, base):
    training = Training(base[0], "whole", base[1]).close_gate()
    job = submit(training, tasks_per_node=2)
    slurm.wait(lambda: training.waits, LIMIT_S, "two processes at the gate")
    slurm.stop_scheduler()
    slurm.start_scheduler()
    training.open_gate()
    finished(slurm, training, job, LIMIT_S)
    return training, job


def test_two_tasks_train_one_model_through_a_restart_of_the_scheduler(undisturbed, slurm):
    training, job = undisturbed
    _, recorded = end_of(training)
    assert [recorded[step, "train/prompts"] for step in range(6)] == ["1.0"] * 6  # of the first process
    assert slurm.restarts(job) == 0 and len(list(training.out.glob("whole-????????"))) == 1


@pytest.mark.parametrize("how", [pytest.param("signal", marks=pytest.mark.slow), "requeue"])
def test_two_tasks_go_on_together(how, slurm, undisturbed):
    whole, _ = undisturbed
    training = Training(whole.out, how, whole.overrides).close_gate()
    job = submit(training, tasks_per_node=2)
    slurm.wait(lambda: training.waits, LIMIT_S, "the gate")
    getattr(slurm, how)(job)
    slurm.wait(lambda: training.is_asked, LIMIT_S, "a signal at the gate")
    training.open_gate()
    slurm.wait(lambda: slurm.state(job) == "PENDING" or slurm.restarts(job) == 1, LIMIT_S, "requeued")
    slurm.release(job)
    slurm.wait_restart(job, timeout_s=LIMIT_S)
    finished(slurm, training, job, LIMIT_S)
    text = log_of(training, job)
    assert text.count("last.ckpt, batch 4 of 6") == 2, text
    assert "closed by peer" not in text
    assert same(end_of(training), end_of(whole)), text


@pytest.mark.parametrize(("tasks", "devices"), [(2, 1), (1, 2)])
def test_a_wrong_number_of_tasks_is_refused(tasks, devices, slurm, base):
    training = Training(base[0], f"wrong{tasks}", (*base[1], f"trainer.lightning.devices={devices}"))
    job = submit(training, tasks_per_node=tasks)
    assert slurm.wait_state(job, timeout_s=LIMIT_S) == "FAILED"
    text = log_of(training, job)
    assert f"trainer.lightning.devices={devices}" in text and f"cluster.tasks_per_node={tasks}" in text, text
    assert "Traceback" in text and not list(training.out.glob(f"{training.name}-????????"))
