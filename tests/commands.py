"""The commands with small settings: in this process, or as a process of their own."""

from __future__ import annotations

import importlib
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

from hydra import compose, initialize_config_dir

from o3v.config import register_schemas
from tests import tiny

COUNTS = "data.dataset.counts={visual QA: 3, temporal QA: 4, temporal-spatial free-form QA: 3}"
HELDOUT = "data.heldout.counts={visual QA: 2, temporal QA: 2, temporal-spatial free-form QA: 2}"
SMALL = (
    COUNTS,
    HELDOUT,
    "data.dataset.world.n_frames=4",
    "data.dataset.world.max_visible=3",
    "data.max_new_tokens=12",
)
QUIET = ("trainer.lightning.enable_progress_bar=false",)
GROUP = "rollout.group_size=3"
LETTERS = ("+reward.terms.letters={_target_: tests.training.steps.LettersTerm}", "+reward.weights.letters=1.0")
"""A reward from which a random model's groups can learn."""


def composed(command: str, out: Path, *overrides: str):
    """The configuration of a command line."""
    register_schemas()
    with initialize_config_dir(str(tiny.CONF), version_base="1.3"):
        return compose(command, overrides=[f"paths.output_dir={out}", *overrides])


def run(command: str, out: Path, *overrides: str) -> float | None:
    """Runs a command in this process; returns what it returns."""
    for name in ("lightning.pytorch", "alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.ERROR)
    entry = importlib.import_module(f"o3v.{command}").main
    return entry.__wrapped__(composed(command, out, *overrides))


def start(command: str, out: Path, *overrides: str) -> subprocess.Popen[str]:
    """Starts a command as a process of its own."""
    arguments = [sys.executable, "-m", f"o3v.{command}", f"paths.output_dir={out}", *overrides]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        arguments, cwd=tiny.CONF.parent, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def run_folder(out: Path, name: str) -> Path:
    """The one folder of a command's runs."""
    (folder,) = out.glob(f"{name}-*")
    return folder


def metrics(folder: Path) -> dict[tuple[int, str], float]:
    """(step, name) -> value as text, without what a clock or the frame store's earlier users decide."""
    found: dict[tuple[int, str], float] = {}
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        for name, value in record["values"].items():
            if not any(part in name for part in ("time/", "speed/", "memory/", "store/")) and name != "final/cpu_s":
                assert (record["step"], name) not in found, "a step was recorded twice"
                found[record["step"], name] = repr(value)
    return found
