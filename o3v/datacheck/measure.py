"""How long a check takes on a generated data set, first and again, and what it makes of damaged rows and files."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, Final

from o3v.datacheck.made import write_made
from o3v.datacheck.pool import PoolSettings
from o3v.datacheck.row_reading import Limits, RowSettings
from o3v.datacheck.trial import try_files, try_rows
from o3v.errors import DataError
from o3v.replay.files import write_json

RESULTS: Final = "results.json"
MEASURED: Final = ("seconds", "cpu_s", "load")
TRIAL_ROWS: Final = 600
TRIAL_LIMIT_S: Final = 30.0
_LIMITS: Final = Limits(0.1, 0.02, 0.8, 1.0, 0.5, 1.0)


@dataclass(frozen=True)
class CheckCase:
    """What is measured.

    Attributes:
        rows, media: size of the generated data set.
        workers: processes of the check.
        repeats: checks with an empty memory, and as many with a full one.
        row_corruptions, media_corruptions: damaged rows and files.
        seed: of the data set.
    """

    rows: int
    media: int
    workers: int
    repeats: int
    row_corruptions: int
    media_corruptions: int
    seed: int


def measure_check(case: CheckCase, work: Path, command: Sequence[str]) -> dict[str, Any]:
    """All figures of a case, as plain values.

    Args:
        case: what is measured.
        work: folder of the generated data; a data set that is there is used.
        command: written into the result.
    """
    root = work / f"made-{case.rows}-{case.media}-{case.seed}"
    begin = time.perf_counter()
    file = write_made(root, case.rows, case.media, case.seed)
    made_s = time.perf_counter() - begin
    first, second = _times(case, root, work)
    pool = PoolSettings(case.workers, TRIAL_LIMIT_S, 4.0)
    rows = json.loads(file.read_text())[:TRIAL_ROWS]
    settings = RowSettings("stgr", str(root), "", _LIMITS, None)
    begin = time.perf_counter()
    damaged_rows = try_rows(rows, case.row_corruptions, settings, pool, work / "damaged.json")
    rows_s = time.perf_counter() - begin
    media = _some_media(root)
    begin = time.perf_counter()
    damaged_files = try_files(media, case.media_corruptions, pool, work / "damaged")
    return {
        "command": " ".join(command),
        "machine": {"processor": _processor(), "cores": os.cpu_count(), "python": platform.python_version()},
        "versions": {name: version(name) for name in ("av", "pillow", "numpy")},
        "case": asdict(case),
        "generating_s": round(made_s, 2),
        "first": first,
        "second": second,
        "damaged_rows": asdict(damaged_rows) | {"seconds": round(rows_s, 2)},
        "damaged_files": asdict(damaged_files) | {"seconds": round(time.perf_counter() - begin, 2)},
    }


def write_results(results: dict[str, Any], folder: Path) -> Path:
    """The figures as results.json. Raises StorageError."""
    write_json(folder / RESULTS, results)
    return folder / RESULTS


def _times(case: CheckCase, root: Path, work: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Whole commands, start of the interpreter included, alternating: empty memory, full memory."""
    memory = work / "memory.sqlite"
    first, second = [], []
    for _ in range(case.repeats):
        memory.unlink(missing_ok=True)
        first.append(_run(case, root, work, memory))
        second.append(_run(case, root, work, memory))
    return _spread(first), _spread(second)


def _run(case: CheckCase, root: Path, work: Path, memory: Path) -> dict[str, float]:
    """One command's wall time, CPU time with its workers, load of the machine before it, and counts."""
    out = work / "report"
    arguments = ["data=stgr_rl", f"paths.data_root={root}", f"out={out}", f"memory={memory}", f"workers={case.workers}"]
    load = os.getloadavg()[0]
    before, begin = os.times(), time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "o3v.check", *arguments], capture_output=True, text=True)
    seconds, after = time.perf_counter() - begin, os.times()
    if done.returncode:
        raise DataError(f"the check of {root} ended with {done.returncode}: {(done.stderr or done.stdout)[-500:]}")
    summary = json.loads((out / "STGR-RL" / "summary.json").read_text())
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    counts = {key: summary[key] for key in ("rows", "rows_looked_at", "rows_remembered")}
    return {"seconds": seconds, "cpu_s": cpu_s, "load": load, **counts} | {
        key: summary[key] for key in ("media_looked_at", "media_remembered")
    }


def _spread(runs: Sequence[dict[str, float]]) -> dict[str, Any]:
    counts = {key: value for key, value in runs[0].items() if key not in MEASURED}
    times = {
        key: {"median": median(values), "all": values}
        for key in MEASURED
        if (values := [round(run[key], 2) for run in runs])
    }
    return times | counts


def _some_media(root: Path) -> list[Path]:
    """Ten films and four pictures of the generated data set."""
    return [*sorted(root.rglob("*.mp4"))[:10], *sorted(root.rglob("*.jpg"))[:4]]


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
