"""What the root file of the pass rates may hold: keys and types, without values."""

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
