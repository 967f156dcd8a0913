"""A run's resources (conf/cluster, resolved) in the words of submitit: the one place that translates them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from o3v.cluster import sbatch_of, setup_of
from o3v.errors import ConfigError


class Run(Protocol):
    """What resources depend on; `o3v.study.StageRun` is one."""

    @property
    def command(self) -> str:
        """Train or evaluate."""

    @property
    def resources(self) -> Mapping[str, Any]:
        """Its whole cluster configuration."""


SLURM_NAMES = {
    "timeout_min": "time",
    "nodes": "nodes",
    "gpus_per_node": "gpus_per_node",
    "tasks_per_node": "ntasks_per_node",
    "cpus_per_task": "cpus_per_task",
    "partition": "partition",
    "account": "account",
    "qos": "qos",
    "constraint": "constraint",
    "array_parallelism": "array_parallelism",
    "signal_delay_s": "signal_delay_s",
}
"""Key of conf/cluster -> name in submitit's SlurmExecutor; null leaves the cluster's default."""


def resources_of(run: Run) -> Mapping[str, Any]:
    """A run's resources; an evaluation is one process, which starts its own workers on the CPUs and GPUs of the job."""
    if run.command != "evaluate":
        return run.resources
    cpus = run.resources["cpus_per_task"] * run.resources["tasks_per_node"]
    return {**run.resources, "nodes": 1, "tasks_per_node": 1, "cpus_per_task": cpus}


def slurm_parameters(resources: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Parameters of a `submitit.SlurmExecutor`.

    Args:
        resources: whole cluster configuration of a run.
        name: of the job, as squeue shows it.

    Raises:
        ConfigError: no time limit, or a warning that would come before the job starts.
    """
    check_limits(resources)
    given = {ours: resources[key] for key, ours in SLURM_NAMES.items() if resources[key] is not None}
    if resources["mem_gb"] is not None:
        given["mem"] = f"{resources['mem_gb']}GB"
    extra = sbatch_of(resources)
    return given | {
        "job_name": name,
        "setup": setup_of(resources),
        "additional_parameters": extra,
        "stderr_to_stdout": True,
    }


def check_limits(resources: Mapping[str, Any]) -> None:
    """Raise a ConfigError where the time limit and the warning before it cannot both be."""
    limit_min, delay_s = resources["timeout_min"], resources["signal_delay_s"]
    if limit_min is None:
        raise ConfigError("cluster.timeout_min has no value: a job of SLURM needs a time limit, in minutes")
    if delay_s >= 60 * limit_min:
        raise ConfigError(
            f"cluster.signal_delay_s={delay_s}: the warning must come after the start of a job of "
            f"cluster.timeout_min={limit_min} minutes"
        )


def local_parameters(resources: Mapping[str, Any], slot: int) -> dict[str, Any]:
    """Parameters of a `submitit.LocalExecutor`; jobs that run side by side see different GPUs.

    Args:
        resources: whole cluster configuration of a run.
        slot: 0, 1, ... among the jobs that run at the same time.

    Example:
        >>> base = {"nodes": 1, "timeout_min": 5, "tasks_per_node": 1, "signal_delay_s": 0, "gpus_per_node": 2}
        >>> local_parameters(base, 1)["visible_gpus"]
        (2, 3)

    Raises:
        ConfigError: more than one node.
    """
    if resources["nodes"] > 1:
        raise ConfigError(f"cluster.nodes={resources['nodes']}: this machine is one node; take cluster=slurm_4x8")
    gpus = resources["gpus_per_node"]
    return {
        "timeout_min": resources["timeout_min"] or 60 * 24 * 365,
        "tasks_per_node": resources["tasks_per_node"],
        "gpus_per_node": gpus,
        "visible_gpus": tuple(range(slot * gpus, (slot + 1) * gpus)),
        "signal_delay_s": resources["signal_delay_s"],
        "stderr_to_stdout": True,
    }


def summary(resources: Mapping[str, Any]) -> str:
    """One short phrase for tables.

    Example:
        >>> summary({"kind": "slurm", "nodes": 1, "tasks_per_node": 8, "cpus_per_task": 12, "gpus_per_node": 8,
        ...          "timeout_min": 90, "partition": "gpu"})
        '1 node, 8 GPUs, 8 x 12 CPUs, 1:30 h, gpu'
    """
    parts = ["1 node" if resources["nodes"] == 1 else f"{resources['nodes']} nodes"]
    if resources["gpus_per_node"]:
        parts.append("1 GPU" if resources["gpus_per_node"] == 1 else f"{resources['gpus_per_node']} GPUs")
    parts.append(f"{resources['tasks_per_node']} x {resources['cpus_per_task']} CPUs")
    if resources["timeout_min"] is not None:
        parts.append(f"{resources['timeout_min'] // 60}:{resources['timeout_min'] % 60:02d} h")
    if resources["partition"]:
        parts.append(str(resources["partition"]))
    return ", ".join(parts)
