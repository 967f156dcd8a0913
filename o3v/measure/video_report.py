"""Figures of decoding as a table and a file."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from o3v.measure.video_rivals import versions


def write(result: Mapping[str, Any], folder: Path, command: Sequence[str], readers: Sequence[str]) -> Path:
    """Write results.json with machine, versions and command; cases of earlier commands stay in it."""
    file = folder / "results.json"
    folder.mkdir(parents=True, exist_ok=True)
    kept = json.loads(file.read_text()) if file.is_file() else {"cases": {}}
    about = {
        "command": " ".join(command),
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{_processor()}, {len(os.sched_getaffinity(0))} cores",
        "python": platform.python_version(),
        "versions": versions(readers),
    }
    cases = {name: {**case, **about} for name, case in result["cases"].items()}
    merged = {**kept, "cases": kept["cases"] | cases, "missing": result["missing"]}
    if result.get("store") is not None:
        merged["store"] = {**result["store"], **about}
    file.write_text(json.dumps(merged, indent=1) + "\n")
    return file


def show(result: Mapping[str, Any]) -> None:
    """Print one line a film, number of frames and reader."""
    columns = ("film", "frames", "reader", "rounds", "wall s", "CPU s", "wall over o3v (95 %)", "CPU over o3v (95 %)")
    table = Table(*columns, "time error s", "wrong")
    for case in result["cases"].values():
        for name, row in case["readers"].items():
            over = (_interval(row.get("wall_over_o3v")), _interval(row.get("cpu_over_o3v")))
            numbers = (f"{row['wall_s']:.3f}", f"{row['cpu_s']:.3f}", *over, f"{row['worst_time_error_s']:.4f}")
            table.add_row(
                f"{case['length_s']} s",
                str(case["frames"]),
                name,
                str(row["rounds"]),
                *numbers,
                str(row["wrong_frames"]),
            )
    console = Console(width=150)
    console.print(table)
    for name, reason in result["missing"].items():
        console.print(f"{name} is missing: {reason}", markup=False)
    if result.get("store") is not None:
        console.print(_store_line(result["store"]), markup=False)


def _interval(ratio: Mapping[str, float] | None) -> str:
    return "" if ratio is None else f"{ratio['mean']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})"


def _store_line(store: Mapping[str, Any]) -> str:
    times = f"{1000 * store['read_s']:.2f} ms, decoded in {1000 * store['decode_s']:.1f} ms"
    wall, cpu = (_interval(store[name]) for name in ("decode_over_read", "cpu_decode_over_read"))
    return f"warm store: {store['frames']} frames of {store['size_px']} in {times}: {wall} times, by CPU seconds {cpu}"


def _processor() -> str:
    """Name of the processor where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or sys.platform
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
