"""One step in several processes of this machine, and what the first of them held."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from o3v.measure.case import StepCase
from o3v.measure.worker import ArmError
from o3v.planning.worker import MMAP_BYTES, Held
from o3v.training.world import free_port

_SHOWN_CHARACTERS = 3000
_LOOK_S = 0.1


@dataclass(frozen=True)
class LayoutCase:
    """One step in several processes.

    Attributes:
        step: sizes and model; a process has `micro_batch` rows (sft) or one prompt (rl).
        layout: of `o3v.training.layouts.LAYOUTS`.
        processes: of the run.
        keep_whole: see `o3v.training.fit.TrainerSettings`.
    """

    step: StepCase
    layout: str
    processes: int
    keep_whole: int


def run_together(case: LayoutCase, kind: str) -> Held:
    """Run `python -m o3v.planning.layout_worker` in as many fresh processes as the case wants.

    Raises:
        ArmError: one of them failed; with the end of what it said.
    """
    with tempfile.TemporaryDirectory() as folder:
        given, result = Path(folder) / "case.pkl", Path(folder) / "result.json"
        given.write_bytes(pickle.dumps(case))
        command = [sys.executable, "-m", "o3v.planning.layout_worker", kind, str(given), str(result)]
        logs = [Path(folder) / f"{rank}.log" for rank in range(case.processes)]
        meeting = _meeting(case)
        started = [_start(command, meeting | {"LOCAL_RANK": str(rank)}, log) for rank, log in enumerate(logs)]
        failed = _first_failed(started)
        if failed is not None:
            said = logs[failed].read_text()[-_SHOWN_CHARACTERS:]
            raise ArmError(f"{case.layout}, {case.step.label}: a process failed:\n{said}")
        return Held(**json.loads(result.read_text()))


def _meeting(case: LayoutCase) -> dict[str, str]:
    """Variables by which the processes find each other, and those of one that measures its memory."""
    threads = {name: str(case.step.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "NODE_RANK": "0"}
    count = {"WORLD_SIZE": str(case.processes), "MALLOC_MMAP_THRESHOLD_": MMAP_BYTES}
    return {**os.environ, **threads, **place, **count}


def _first_failed(started: list[subprocess.Popen[bytes]]) -> int | None:
    """Number of the first process that failed, the others ended with it; None once all are done."""
    while any(process.poll() is None for process in started):
        if any(process.poll() for process in started):
            break
        time.sleep(_LOOK_S)
    codes = [process.poll() for process in started]
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()
    return next((rank for rank, code in enumerate(codes) if code), None)


def _start(command: list[str], environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as said:
        return subprocess.Popen(command, env=environment, stdout=said, stderr=subprocess.STDOUT)
