"""A stage without a model: counts steps on disk, sleeps, fails where it is told to, goes on where it stopped."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from o3v.stop import Interrupted, current_stop
from o3v.tracking.run import RunFolder

COMMAND = "tests.launchers.standin:run"


class StandInError(RuntimeError):
    """What a stage that is made to fail raises."""


def run(overrides: Sequence[str], folder: str) -> dict[str, Any]:
    """Does `steps=N` steps of `step_s=S` seconds.

    `fail_unless=FILE` fails at the second one while FILE is missing; `signal=N` signals itself after the first one.
    """
    given = {line.split("=", 1)[0]: line.split("=", 1)[1] for line in overrides if "=" in line}
    here = RunFolder(Path(folder))
    here.create()
    done, total = (here.read_json("state.json") or {"done": 0})["done"], int(given.get("steps", 2))
    for number in range(done, total):
        if number == 1 and "fail_unless" in given and not Path(given["fail_unless"]).exists():
            raise StandInError(f"{here.path.name} was made to fail")
        time.sleep(float(given.get("step_s", 0.0)))
        here.write_json("state.json", {"done": number + 1})
        here.write_json("progress.json", {"done": number + 1, "total": total, "unit": "batches", "rate_per_s": 2.0})
        if number == 0 and "signal" in given:
            os.kill(os.getpid(), int(given["signal"]))
        if current_stop().requested:
            raise Interrupted(f"{number + 1} of {total} steps")
    result = {"steps": total, "resumed_from": done, "restarts": int(os.environ.get("SLURM_RESTART_COUNT", 0))}
    here.mark_done({**result, "overrides": list(overrides), "env": _seen()})
    return json.loads(json.dumps(result))


def nested(overrides: Sequence[str], folder: str) -> dict[str, Any]:
    """A stage that launches a study of its own from within its job."""
    from launchers.launch import launch
    from tests.launchers.studies import chain

    inner = chain(Path(folder) / "inner", {"a": {}}, seeds=(0,), stages=("sft",), resources=read_resources(folder))
    number = launch(inner, [])
    RunFolder(Path(folder)).mark_done({"submitted": number})
    return {"submitted": number}


def read_resources(folder: str) -> dict[str, Any]:
    """Resources that the test left for the inner study."""
    return RunFolder(Path(folder).parent).read_json("resources.json")


def _seen() -> dict[str, str | None]:
    names = (
        "SRUN_CPUS_PER_TASK",
        "SLURM_CPUS_PER_TASK",
        "O3V_BATCH_FILE",
        "SLURM_JOB_PARTITION",
        "CUDA_VISIBLE_DEVICES",
    )
    return {name: os.environ.get(name) for name in names}
