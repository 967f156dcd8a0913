"""Studies of stand-in stages, made in code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from o3v.study import StageRun, Study
from tests.launchers.standin import COMMAND

SLURM = {
    "kind": "slurm",
    "timeout_min": 20,
    "nodes": 1,
    "gpus_per_node": 0,
    "tasks_per_node": 1,
    "cpus_per_task": 1,
    "mem_gb": 1,
    "partition": None,
    "account": None,
    "qos": None,
    "constraint": None,
    "setup": [],
    "sbatch": {},
    "array_parallelism": 8,
    "signal_delay_s": 30,
    "max_num_timeout": 3,
}
LOCAL = {**SLURM, "kind": "local", "array_parallelism": 2}
INLINE = {**LOCAL, "kind": "inline"}


def chain(
    out: Path,
    arms: Mapping[str, Mapping[str, Sequence[str]]],
    seeds: Sequence[int] = (0, 1),
    stages: Sequence[str] = ("sft", "rl", "eval"),
    resources: Mapping[str, Any] = SLURM,
    name: str = "study",
) -> Study:
    """Arms x seeds through stages in a row; the first stage is one run a seed for all arms.

    Args:
        out: holds the runs and the study.
        arms: arm -> `stage` or `stage/seed` -> further overrides.
        seeds: of all arms.
        stages: their names, in order.
        resources: of every run.
        name: of the study.
    """
    runs: dict[str, StageRun] = {}
    members = {}
    for arm, changes in arms.items():
        for seed in seeds:
            keys: list[str] = []
            for stage in stages:
                shared = stage == stages[0]
                key = f"{stage}-{seed}" if shared else f"{stage}-{arm}-{seed}"
                more = (*changes.get(stage, ()), *changes.get(f"{stage}/{seed}", ()))
                runs.setdefault(
                    key,
                    StageRun(
                        key=key,
                        stage=stage,
                        command=COMMAND,
                        overrides=("steps=2", *more),
                        folder=out / key,
                        parent=keys[-1] if keys else None,
                        arms=tuple(arms) if shared else (arm,),
                        seeds=(seed,),
                        resources=resources,
                        benchmark=None,
                    ),
                )
                keys.append(key)
            members[arm, seed] = tuple(keys)
    return Study(
        name=name,
        title="Stand-ins",
        question="?",
        baseline=next(iter(arms)),
        seeds=tuple(seeds),
        arms=tuple(arms),
        stages=tuple(stages),
        runs=runs,
        members=members,
        metrics=None,
        published={},
        folder=out / "studies" / name,
    )
