"""Many GPUs on paper: `python -m o3v.bench scale`."""

from __future__ import annotations

import sys
from typing import Any

from omegaconf import DictConfig

from o3v.cli import command


@command(config_name="bench_scale")
def scale(cfg: DictConfig) -> float | None:
    """What one GSPO step and an epoch cost on many GPUs, on paper; returns the largest number of device hours."""
    from rich.console import Console

    rows = scale_rows(cfg)
    Console().print(_table(rows))
    if cfg.out is not None:
        from pathlib import Path

        from o3v.config import resolve
        from o3v.replay.files import write_json

        plain = resolve(cfg)
        given = {name: plain[name] for name in plain if name not in ("paths", "models", "out")}
        about = {"command": ["python", "-m", "o3v.bench", "scale", *sys.argv[1:]], "assumptions": given}
        write_json(Path(cfg.out) / "results.json", about | {"rows": rows})
    return max(row["device_hours"] for row in rows)


def scale_rows(cfg: DictConfig) -> list[dict[str, Any]]:
    """One row a model and number of devices."""
    from o3v.config import build
    from o3v.planning.case import Lengths, PlanCase
    from o3v.planning.scale import Rates, scale_row
    from o3v.planning.sizes import read_sizes

    rates = Rates(**cfg.rates)
    lengths = Lengths(cfg.prompt, cfg.completion, cfg.frames, cfg.frame_tokens, "given")
    rows = []
    for name in cfg.models:
        spec = build(cfg, f"models.{name}")
        sizes = read_sizes(spec, 0)
        for devices in cfg.devices:
            case = PlanCase(
                spec, cfg.layout, devices, "rl", cfg.kl, cfg.group_size, cfg.prompts, 1, 1, "kept", 1, lengths, True, 0
            )
            rows.append(scale_row(str(name), case, sizes, rates, cfg.samples))
    return rows


def _table(rows: list[dict[str, Any]]) -> Any:
    from rich.table import Table

    parts = list(rows[0]["seconds"])
    table = Table(
        "model", "GPUs", "GiB a GPU", *(f"{part} s" for part in parts), "step s", "longest", "epoch h", "GPU h"
    )
    for row in rows:
        seconds = [f"{row['seconds'][part]:.1f}" for part in parts]
        ends = (f"{row['step_s']:.1f}", row["bottleneck"], f"{row['epoch_h']:.2f}", f"{row['device_hours']:.0f}")
        table.add_row(row["model"], str(row["devices"]), f"{row['peak_gib']:.0f}", *seconds, *ends)
    return table
