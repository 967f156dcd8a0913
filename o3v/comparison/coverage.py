"""The cases of `python -m o3v.bench coverage`: simulated, shown and written."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from o3v.benchmarks.report import Grid
from o3v.comparison.simulate import KINDS, METHODS, Case, coverage
from o3v.comparison.text import print_whole
from o3v.errors import ConfigError
from o3v.tracking.run import write_atomically

log = logging.getLogger(__name__)

Found = Sequence[tuple[Case, Mapping[str, float]]]
"""Cases with the share of intervals that held the truth, by method."""


def cases_of(config: Mapping[str, Any]) -> list[Case]:
    """Every combination of kinds, spreads, seeds and videos.

    Raises:
        ConfigError: an unknown kind, or numbers of which no interval can be made.
    """
    unknown = [kind for kind in config["kinds"] if kind not in KINDS]
    if unknown:
        raise ConfigError(f"kinds={unknown}: allowed are {', '.join(KINDS)}")
    for key in ("seeds", "videos"):
        if any(count < 2 for count in config[key]):
            raise ConfigError(f"{key}={config[key]}: at least 2")
    if config["repeats"] < 1:
        raise ConfigError(f"repeats={config['repeats']}: must be at least 1")
    if any(len(pair) != 2 for pair in config["spreads"]):
        raise ConfigError(f"spreads={config['spreads']}: wanted pairs [seed, video]")
    combined = product(config["kinds"], config["spreads"], config["seeds"], config["videos"])
    return [Case(kind, seeds, videos, *map(float, spread)) for kind, spread, seeds, videos in combined]


def measure(cases: Sequence[Case], repeats: int, seed: int) -> Found:
    """Simulates the cases one after the other."""
    found = []
    for case in cases:
        found.append((case, coverage(case, repeats, seed)))
        log.info("%s: %s", case, found[-1][1])
    return found


def grid_of(found: Found) -> Grid:
    """One row a case, shares in percent."""
    header = ("answers", "seed sd", "video sd", "seeds", "videos", *(method.replace("_", " ") for method in METHODS))
    rows = tuple(
        (
            case.kind.replace("_", "/"),
            *(f"{value:g}" for value in (case.seed_sd, case.video_sd, case.seeds, case.videos)),
            *(f"{100 * shares[method]:.1f}" for method in METHODS),
        )
        for case, shares in found
    )
    return Grid("Share of 95 % intervals that hold a true difference of 0, in percent", header, rows)


def show(found: Found) -> None:
    """The table on the terminal."""
    from rich.console import Console

    print_whole(Console(), grid_of(found).rich())


def write(found: Found, config: Mapping[str, Any], path: str, command: Sequence[str]) -> None:
    """Writes everything as JSON. Raises StorageError."""
    rows = [asdict(case) | {"coverage": dict(shares)} for case, shares in found]
    how = {"repeats": config["repeats"], "seed": config["seed"], "numpy": np.__version__}
    result = {"command": list(command), **how, "cases": rows}
    write_atomically(Path(path), json.dumps(result, indent=2) + "\n")
