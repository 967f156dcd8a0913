"""Processes under SLURM: a wrong number is refused with both keys; they meet at a port that is free."""

import os
import socket
import threading

import pytest

from o3v.errors import ConfigError, StorageError
from o3v.training import world
from o3v.training.world import check_one_task, check_tasks, free_port, meet, step_tasks

NAMES = [name for name in os.environ if name.startswith(("SLURM_", "TORCHELASTIC"))]
STEP = {"SLURM_STEP_ID": "0", "SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "rl", "SLURM_STEP_NUM_NODES": "1"}


@pytest.fixture
def step(monkeypatch):
    """Sets the environment of a step with so many tasks."""
    for name in (*NAMES, "MASTER_PORT", "MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)

    def enter(tasks, **more):
        for name, value in (STEP | {"SLURM_STEP_NUM_TASKS": str(tasks)} | more).items():
            monkeypatch.setenv(name, value)

    yield enter
    for name in ("MASTER_PORT", "MASTER_ADDR"):
        os.environ.pop(name, None)


@pytest.mark.parametrize(
    ("tasks", "lightning"),
    [
        (1, {}),
        (2, {"devices": 2}),
        (8, {"devices": 4, "num_nodes": 2}),
        (2, {"devices": [0, 1]}),
        (1, {"devices": "auto"}),
    ],
)
def test_the_right_number_passes(tasks, lightning, step):
    step(tasks)
    check_tasks(lightning)


@pytest.mark.parametrize(
    ("tasks", "lightning"),
    [(2, {}), (1, {"devices": 2}), (8, {"devices": 8, "num_nodes": 2}), (2, {"devices": "auto"}), (2, {"devices": -1})],
)
def test_a_wrong_number_is_refused_with_both_keys(tasks, lightning, step):
    step(tasks, SLURM_STEP_TASKS_PER_NODE=str(tasks))
    expected = rf"devices={lightning.get('devices', 1)}.*started {tasks} \(cluster.tasks_per_node={tasks}"
    with pytest.raises(ConfigError, match=expected):
        check_tasks(lightning)


@pytest.mark.parametrize("more", [{"SLURM_JOB_NAME": "bash"}, {"TORCHELASTIC_RUN_ID": "x"}])
def test_who_starts_the_processes_otherwise_is_left_alone(more, step):
    step(2, **more)
    assert step_tasks() is None
    check_tasks({})
    check_one_task()


def test_a_job_without_srun_has_no_tasks(step, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert step_tasks() is None


def test_an_evaluation_is_one_process(step):
    step(1)
    check_one_task()
    step(8)
    with pytest.raises(ConfigError, match=r"started 8 processes.*workers=8.*shard=K/8"):
        check_one_task()


def test_processes_meet_at_the_first_ones_port(step, tmp_path):
    step(2, SLURM_PROCID="0")
    (tmp_path / ".meeting-6-0-0").write_text("1")
    meet(tmp_path)
    assert os.environ.pop("MASTER_ADDR") == "127.0.0.1" and not (tmp_path / ".meeting-6-0-0").exists()
    port = os.environ.pop("MASTER_PORT")
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", int(port)))
    step(2, SLURM_PROCID="1")
    meet(tmp_path)
    assert os.environ["MASTER_PORT"] == port


def test_a_restarted_job_meets_anew(step, tmp_path, monkeypatch):
    step(2, SLURM_PROCID="0")
    meet(tmp_path)
    os.environ.pop("MASTER_PORT")
    monkeypatch.setattr(world, "MEETING_LIMIT_S", 0.3)
    step(2, SLURM_PROCID="1", SLURM_RESTART_COUNT="1")
    with pytest.raises(StorageError, match=r"has not written it; is the folder shared"):
        meet(tmp_path)


def test_the_other_process_waits_for_the_first(step, tmp_path):
    step(2, SLURM_PROCID="1")
    threading.Timer(0.3, (tmp_path / ".meeting-7-0-0").write_text, ["4711"]).start()
    meet(tmp_path)
    assert os.environ["MASTER_PORT"] == "4711"


@pytest.mark.parametrize(("tasks", "more"), [(1, {}), (2, {"MASTER_PORT": "29500"})])
def test_what_is_set_or_not_needed_stays(tasks, more, step, tmp_path):
    step(tasks, **more)
    meet(tmp_path)
    assert os.environ.get("MASTER_PORT") == more.get("MASTER_PORT") and not list(tmp_path.iterdir())


def test_ports_differ():
    assert 1024 < free_port() < 65536
