"""Steps put together from the parts that were measured on a GPU, a table, and a file for all cases."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from o3v.measure.report import put_case

Parts = Mapping[str, Mapping[str, float]]


def steps(parts: Parts) -> dict[str, float]:
    """Seconds of a step by each decoder and training pass that belong together, without the optimizer.

    A dense rollout goes with dense training, every other decoder with every other pass. Where the prompt is kept, it is
    read once, with its graph.

    Example:
        >>> steps({"rollout graph": {"read_s": 1.0, "decode_s": 2.0},
        ...     "training kept-split": {"read_s": 1.5, "forward_s": 0.5, "backward_s": 2.0}})
        {'graph, kept-split': 6.0}
    """
    found = {}
    for rollout, drawn in parts.items():
        for training, learned in parts.items():
            decoder, way = rollout.removeprefix("rollout "), training.removeprefix("training ")
            belong = rollout != decoder and training != way and (decoder == "dense") == (way == "dense")
            if belong:
                read = learned["read_s"] if way.startswith("kept") else drawn["read_s"]
                label = decoder if decoder == way else f"{decoder}, {way}"
                found[label] = read + drawn["decode_s"] + learned["forward_s"] + learned["backward_s"]
    return found


def write(result: Mapping[str, Any], folder: str | Path, command: Sequence[str]) -> Path:
    """Put a measured size into results.json of a folder, where it replaces an equal one.

    Args:
        result: one of `o3v.measure.gpu.measure_gpu`.
        folder: made if it is not there.
        command: the words of the command line.

    Returns:
        The file.
    """
    size = f"P{result['prompt']}-L{result['completion']}-frames{result['frames']}"
    origin = {"command": " ".join(command), "date": datetime.now(UTC).date().isoformat()}
    label = f"{result['case']['spec']['path']}-{size}"
    return put_case(folder, label, dict(result) | {"steps_s": steps(result["parts"])} | origin)


def show(result: Mapping[str, Any]) -> None:
    """Print a table of the parts, and steps."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 150)
    title = f"P={result['prompt']} ({result['frames']} frames), L={result['completion']}: seconds, peak MiB"
    names = ("read_s", "decode_s", "forward_s", "backward_s", "peak_mb")
    table = Table("part", *names, title=title)
    for part, figures in result["parts"].items():
        table.add_row(part, *(f"{figures[name]:.3f}" if name in figures else "-" for name in names))
    console.print(table)
    for label, seconds in steps(result["parts"]).items():
        console.print(f"step {label}: {seconds:.3f} s")
    console.print(f"draw against training pass, nats: {result['parity']}")
