"""Plans beside measured memory: `python -m o3v.bench plan`."""

from __future__ import annotations

import logging
import platform
import sys
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from o3v.cli import command

if TYPE_CHECKING:
    from o3v.measure.case import StepCase
    from o3v.planning.measured import Checked

log = logging.getLogger(__name__)


@command(config_name="bench_plan")
def plan(cfg: DictConfig) -> float | None:
    """How far the planned peak memory of small steps is from what they hold; returns the largest distance."""
    from o3v.planning.measured import check_layout, check_step
    from o3v.planning.together import LayoutCase

    found: dict[str, Checked] = {}
    for name, sizes in cfg.cases.items():
        case, layout = _case(cfg, dict(sizes)), sizes.get("layout")
        if layout is None:
            found[str(name)] = check_step(case, sizes["kind"], cfg.repeats)
        else:
            together = LayoutCase(case, layout, cfg.processes, cfg.keep_whole)
            found[str(name)] = check_layout(together, sizes["kind"], cfg.repeats)
        log.info("%s", _line(str(name), found[str(name)]))
    if cfg.out is not None:
        _write(cfg, found)
    return max(abs(checked.error) for checked in found.values())


def _case(cfg: DictConfig, sizes: dict[str, Any]) -> StepCase:
    from dataclasses import replace

    from o3v.config import build
    from o3v.measure.case import StepCase

    spec = replace(build(cfg, "model"), gradient_checkpointing=sizes["checkpointing"])
    rl = sizes["kind"] == "rl"
    return StepCase(
        spec=spec,
        vocab_size=cfg.vocab_size,
        prompt=sizes["prompt"],
        sampling=replace(build(cfg, "rollout"), group_size=sizes["rows"]),
        objective=replace(build(cfg, "objective"), kl_coef=sizes.get("kl", 0.0)),
        image_px=cfg.image_px,
        micro_batch=sizes["rows"],
        prompt_pass=sizes["pass"] if rl else "kept",
        steps=1,
        count=False,
        threads=cfg.threads,
        lr=1.0e-6,
        seed=cfg.seed,
    )


def _line(name: str, checked: Checked) -> str:
    measured = ", ".join(f"{size:.0f}" for size in checked.measured_mib)
    return f"{name}: planned {checked.planned_mib:.0f} MiB, measured {measured} MiB ({checked.error:+.1%})"


def _write(cfg: DictConfig, found: dict[str, Checked]) -> None:
    from datetime import UTC, datetime
    from importlib.metadata import version
    from pathlib import Path

    from o3v.replay.files import write_json

    libraries = {name: version(name) for name in ("torch", "transformers")}
    about = {
        "command": ["python", "-m", "o3v.bench", "plan", *sys.argv[1:]],
        "date": datetime.now(UTC).date().isoformat(),
        "machine": {"python": platform.python_version(), "threads": cfg.threads, **libraries},
    }
    write_json(Path(cfg.out) / "results.json", about | {"cases": {name: each.row() for name, each in found.items()}})
