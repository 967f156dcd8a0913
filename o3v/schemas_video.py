"""What conf/bench_video.yaml may hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

from o3v.schemas import PathsConfig


@dataclass
class BenchVideoConfig:
    """Root of conf/bench_video.yaml: sampling films, measured."""

    readers: list[str] = MISSING
    lengths_s: list[int] = MISSING
    frames: list[int] = MISSING
    size_px: list[int] = MISSING
    fps: int = MISSING
    gop: int = MISSING
    segment_s: int = MISSING
    repeats: int = MISSING
    budget_s: float = MISSING
    store_size_px: list[int] = MISSING
    store_repeats: int = MISSING
    films: str = MISSING
    out: str = MISSING
    paths: PathsConfig = MISSING
    store: Any = None
