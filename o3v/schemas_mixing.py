"""What the root files around mixing may hold: keys and types, without values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

from o3v.schemas import PathsConfig


@dataclass
class PassRatesConfig:
    """Root of conf/pass_rates.yaml."""

    rollouts: str = MISSING
    out: str = MISSING
    terms: list[str] = MISSING
    threshold: float = MISSING
    progress: float = MISSING
    paths: PathsConfig = MISSING
    reward: Any = MISSING


@dataclass
class BenchPaddingConfig:
    """Root of conf/bench_padding.yaml: padding of batches under several groupings."""

    rows: int = MISSING
    devices: int = MISSING
    prompts_per_device: int = MISSING
    windows: list[int] = MISSING
    factor: int = MISSING
    seed: int = MISSING
    out: str | None = MISSING
    paths: PathsConfig = MISSING
    reader: Any = MISSING
