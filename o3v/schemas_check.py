"""What conf/check.yaml and conf/bench_check.yaml may hold: keys and types, without values (those are in the files)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

from o3v.schemas import PathsConfig


@dataclass
class CheckConfig:
    """Root of conf/check.yaml: a data set or a benchmark, looked at before it is used."""

    workers: int = MISSING
    media: bool = MISSING
    decode: str = MISSING
    limit_s: float = MISSING
    memory_gib: float = MISSING
    memory: str | None = MISSING
    max_error_share: float = MISSING
    max_prompt_tokens: int | None = MISSING
    largest: int = MISSING
    out: str = MISSING
    clean: str | None = MISSING
    compare_with: list[str] = MISSING
    paths: PathsConfig = MISSING
    data: Any = None
    benchmark: Any = None
    model: Any = MISSING
    against: Any = MISSING
    limits: Any = MISSING
    severity: Any = MISSING


@dataclass
class BenchCheckConfig:
    """Root of conf/bench_check.yaml: the check's time on a generated data set."""

    rows: int = MISSING
    media: int = MISSING
    workers: int = MISSING
    repeats: int = MISSING
    row_corruptions: int = MISSING
    media_corruptions: int = MISSING
    seed: int = MISSING
    work: str = MISSING
    out: str = MISSING
    paths: PathsConfig = MISSING
