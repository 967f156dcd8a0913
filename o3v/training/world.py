"""The processes of a run under SLURM: as many as configured, and how they find each other."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from o3v.errors import ConfigError, StorageError
from o3v.tracking.run import write_atomically

MEETING_LIMIT_S = 600.0
"""How long a process waits for the first one's port: nodes may load a model at very different speeds."""

_INTERACTIVE = ("bash", "interactive")


def world_size(lightning: Mapping[str, Any]) -> int:
    """Processes of a run, from `devices` and `num_nodes` of conf/trainer; devices that are no number count as one.

    Example:
        >>> world_size({"devices": 8, "num_nodes": 2}), world_size({"devices": "auto"})
        (16, 1)
    """
    devices = lightning.get("devices", 1)
    return (int(devices) if str(devices).isdigit() else 1) * int(lightning.get("num_nodes", 1))


def step_tasks() -> int | None:
    """Processes that `srun` started for this run; None where it started none, or where torchrun starts them."""
    if "SLURM_STEP_ID" not in os.environ or "TORCHELASTIC_RUN_ID" in os.environ:
        return None
    if os.environ.get("SLURM_JOB_NAME") in _INTERACTIVE:
        return None
    return int(os.environ.get("SLURM_STEP_NUM_TASKS") or os.environ.get("SLURM_NTASKS") or 1)


def check_tasks(lightning: Mapping[str, Any]) -> None:
    """Compare the processes that SLURM has started with those that the trainer is told to expect.

    With fewer devices than tasks every task would train the whole run for itself, all in one folder.

    Args:
        lightning: `devices` and `num_nodes` of conf/trainer.

    Raises:
        ConfigError: they differ; names both keys and their values.
    """
    tasks = step_tasks()
    if tasks is None:
        return
    devices, nodes = lightning.get("devices", 1), int(lightning.get("num_nodes", 1))
    count = len(devices) if isinstance(devices, list | tuple) else devices
    wanted = int(count) * nodes if str(count).isdigit() else None
    if wanted == tasks or (wanted is None and tasks == 1):
        return
    each = os.environ.get("SLURM_STEP_TASKS_PER_NODE", str(tasks))
    started_nodes = os.environ.get("SLURM_STEP_NUM_NODES", "1")
    raise ConfigError(
        f"trainer.lightning.devices={devices} and trainer.lightning.num_nodes={nodes} expect "
        f"{wanted if wanted is not None else 'an unknown number of'} processes, but SLURM has started {tasks} "
        f"(cluster.tasks_per_node={each}, cluster.nodes={started_nodes}): devices must be cluster.tasks_per_node, "
        "and num_nodes cluster.nodes"
    )


def check_one_task() -> None:
    """An evaluation is one process that starts its own workers.

    Raises:
        ConfigError: SLURM has started several.
    """
    tasks = step_tasks()
    if tasks is not None and tasks > 1:
        raise ConfigError(
            f"SLURM has started {tasks} processes (cluster.tasks_per_node x cluster.nodes) for one evaluation: take "
            f"cluster.tasks_per_node=1 cluster.nodes=1 and workers={tasks}, or give each its shard=K/{tasks}"
        )


def meet(folder: Path) -> None:
    """Agree on a port by a file in the run's folder, in MASTER_PORT, where SLURM started several processes.

    Lightning takes the port from the last four digits of the job's id, so that two jobs on one node can meet on one;
    here the first process asks its system for a free one. On a single node the address is the loopback one, which
    needs no name service. Variables that are set already stay.

    Args:
        folder: shared by all processes.

    Raises:
        StorageError: the first process has written nothing within `MEETING_LIMIT_S`.
    """
    tasks = step_tasks()
    if tasks is None or tasks == 1 or "MASTER_PORT" in os.environ:
        return
    if int(os.environ.get("SLURM_STEP_NUM_NODES", os.environ.get("SLURM_NNODES", "1"))) == 1:
        os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    start = "-".join(os.environ.get(name, "0") for name in ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT"))
    place = folder / f".meeting-{start}"
    if os.environ.get("SLURM_PROCID") == "0":
        for old in folder.glob(".meeting-*"):
            old.unlink(missing_ok=True)
        write_atomically(place, str(free_port()))
    os.environ["MASTER_PORT"] = _wait_for(place)


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as asked:
        asked.bind(("", 0))
        port: int = asked.getsockname()[1]
        return port


def _wait_for(place: Path) -> str:
    until = time.monotonic() + MEETING_LIMIT_S
    while time.monotonic() < until:
        if place.is_file():
            return place.read_text(encoding="utf-8")
        time.sleep(0.1)
    raise StorageError(f"{place}: the run's first process has not written it; is the folder shared by all nodes?")
