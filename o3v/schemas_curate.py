"""What conf/curate.yaml and conf/bench_curation.yaml may hold: keys and types, without values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

from o3v.schemas import PathsConfig


@dataclass
class CurateConfig:
    """Root of conf/curate.yaml: rows, the stages and their rules, who is asked."""

    rows: str = MISSING
    layout: str = MISSING
    media_root: str = MISSING
    out: str | None = MISSING
    stage: str = MISSING
    stages: list[str] = MISSING
    checkpoint: str | None = MISSING
    ask_failed_again: bool = MISSING
    max_failures: int = MISSING
    workers: int = MISSING
    seed: int = MISSING
    paths: PathsConfig = MISSING
    model: Any = MISSING
    rollout: Any = MISSING
    annotator: Any = MISSING
    verifier: Any = None
    filter: Any = MISSING
    reader: Any = MISSING
    limits: Any = MISSING
    box_check: Any = MISSING
    view: Any = MISSING
    sentence_view: Any = MISSING
    consistency: Any = MISSING
    prompts: Any = MISSING
    publish: Any = MISSING
    report: Any = MISSING


@dataclass
class BenchCurationConfig:
    """Root of conf/bench_curation.yaml: curation measured where the truth is known."""

    clips: int = MISSING
    local_clips: int = MISSING
    faults: Any = MISSING
    verifier_error: float = MISSING
    world: Any = MISSING
    seed: int = MISSING
    out: str = MISSING
    work: str = MISSING
    paths: PathsConfig = MISSING
