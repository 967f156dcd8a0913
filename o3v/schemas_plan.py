"""What the root files around planning may hold: keys and types, without values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

from o3v.schemas import ClusterConfig, PathsConfig


@dataclass
class PlanConfig:
    """Root of conf/plan.yaml: the groups of conf/train.yaml, and what a plan asks beside them."""

    gpu_memory_gib: float = MISSING
    margin: float = MISSING
    layout: str = MISSING
    gpus: int | None = MISSING
    prompt: int | None = MISSING
    completion: int | None = MISSING
    frames: int | None = MISSING
    text_tokens: int = MISSING
    key_frames: int = MISSING
    vocab_size: int = MISSING
    out: str | None = MISSING
    name: str = MISSING
    seed: int = MISSING
    init_from: str | None = MISSING
    again: bool = MISSING
    paths: PathsConfig = MISSING
    cluster: ClusterConfig = MISSING
    model: Any = MISSING
    data: Any = MISSING
    store: Any = None
    objective: Any = MISSING
    optim: Any = MISSING
    reward: Any = None
    rollout: Any = None
    engine: Any = None
    trainer: Any = MISSING
    logger: Any = None


@dataclass
class BenchPlanConfig:
    """Root of conf/bench_plan.yaml: plans beside what steps hold."""

    cases: dict[str, dict[str, Any]] = MISSING
    processes: int = MISSING
    keep_whole: int = MISSING
    completion: int = MISSING
    image_px: int = MISSING
    vocab_size: int = MISSING
    repeats: int = MISSING
    threads: int = MISSING
    seed: int = MISSING
    out: str | None = MISSING
    paths: PathsConfig = MISSING
    model: Any = MISSING
    objective: Any = MISSING
    rollout: Any = MISSING


@dataclass
class BenchScaleConfig:
    """Root of conf/bench_scale.yaml: many GPUs on paper."""

    devices: list[int] = MISSING
    samples: int = MISSING
    layout: str = MISSING
    prompts: int = MISSING
    group_size: int = MISSING
    kl: bool = MISSING
    prompt: int = MISSING
    frames: int = MISSING
    frame_tokens: int = MISSING
    completion: int = MISSING
    rates: dict[str, float] = MISSING
    out: str | None = MISSING
    paths: PathsConfig = MISSING
    models: Any = MISSING
