"""What the root files of conf/ may hold: keys and types, without values (those are in the files).

The root and `cluster` are read as data, so their keys and types are written down here; every other group is the
arguments of a class, whose constructor is its schema.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING


@dataclass
class PathsConfig:
    """Places outside the program; a value of `???` is one that was not given and may not be needed."""

    data_root: str = MISSING
    benchmark_root: str = MISSING
    model_root: str = MISSING
    output_dir: str = MISSING
    mlflow_uri: str = MISSING


@dataclass
class ClusterConfig:
    """Resources of one run.

    Attributes:
        kind: inline, local or slurm.
        timeout_min: minutes until the job is ended (None: no limit).
        nodes, gpus_per_node, tasks_per_node, cpus_per_task: size of the job; one task is one process.
        mem_gb: memory of a node, None for the partition's default.
        partition, account, qos, constraint: SLURM's, None for the cluster's default.
        setup: shell lines on the node before a job starts, after the site's (see `o3v.cluster`).
        sbatch: further keys of sbatch, beside the site's; false or null leaves one out.
        array_parallelism: jobs of one multirun that run at the same time.
        signal_delay_s: seconds between the warning signal and the time limit.
        max_num_timeout: how often a job that reached its time limit goes on.
    """

    kind: str = MISSING
    timeout_min: int | None = MISSING
    nodes: int = MISSING
    gpus_per_node: int = MISSING
    tasks_per_node: int = MISSING
    cpus_per_task: int = MISSING
    mem_gb: int | None = MISSING
    partition: str | None = MISSING
    account: str | None = MISSING
    qos: str | None = MISSING
    constraint: str | None = MISSING
    setup: list[str] = MISSING
    sbatch: dict[str, Any] = MISSING
    array_parallelism: int = MISSING
    signal_delay_s: int = MISSING
    max_num_timeout: int = MISSING


@dataclass
class TrainConfig:
    """Root of conf/train.yaml."""

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
class EvaluateConfig:
    """Root of conf/evaluate.yaml."""

    name: str = MISSING
    seed: int = MISSING
    checkpoint: str | None = MISSING
    label: str = MISSING
    batch_size: int = MISSING
    again: bool = MISSING
    workers: int = MISSING
    shard: str | None = MISSING
    predictions: str | None = MISSING
    judge_scores: str | None = MISSING
    paths: PathsConfig = MISSING
    cluster: ClusterConfig = MISSING
    model: Any = MISSING
    data: Any = None
    store: Any = None
    reward: Any = None
    rollout: Any = MISSING
    trainer: Any = MISSING
    logger: Any = None
    benchmark: Any = MISSING
    judge: Any = None
    voting: Any = MISSING


@dataclass
class AnswerConfig:
    """Root of conf/answer.yaml."""

    video: str = MISSING
    question: str = MISSING
    checkpoint: str | None = MISSING
    out: str | None = MISSING
    task: str = MISSING
    seed: int = MISSING
    paths: PathsConfig = MISSING
    model: Any = MISSING
    data: Any = MISSING
    rollout: Any = MISSING


@dataclass
class RescoreConfig:
    """Root of conf/rescore.yaml."""

    rollouts: str = MISSING
    out: str | None = MISSING
    progress: float | None = MISSING
    shown: int = MISSING
    explain: str | None = MISSING
    media_root: str | None = MISSING
    paths: PathsConfig = MISSING
    reward: Any = MISSING
    reward_b: Any = None


@dataclass
class PairedConfig:
    """Root of conf/paired.yaml: two result files compared."""

    a: str = MISSING
    b: str = MISSING
    columns: list[str] | None = MISSING
    out: str | None = MISSING
    resamples: int = MISSING
    exchanges: int = MISSING
    seed: int = MISSING
    paths: PathsConfig = MISSING
    data: Any = MISSING
    reward: Any = None
    benchmark: Any = None


@dataclass
class PretrainConfig:
    """Root of conf/pretrain.yaml."""

    name: str = MISSING
    seed: int = MISSING
    again: bool = MISSING
    vocab_size: int = MISSING
    paths: PathsConfig = MISSING
    cluster: ClusterConfig = MISSING
    model: Any = MISSING
    captions: Any = MISSING
    world: Any = MISSING
    optim: Any = MISSING
    trainer: Any = MISSING
    logger: Any = None


@dataclass
class DemoConfig:
    """Root of conf/demo.yaml: overrides of the runs that make it up."""

    seeds: list[int] = MISSING
    common: list[str] = MISSING
    sft: list[str] = MISSING
    gspo: list[str] = MISSING
    evaluation: list[str] = MISSING
    paths: PathsConfig = MISSING


@dataclass
class BenchStepConfig:
    """Root of conf/bench_step.yaml: one training step, measured."""

    prompt: int = MISSING
    completion: int = MISSING
    group_size: int = MISSING
    image_px: int = MISSING
    arms: list[str] = MISSING
    prompt_pass: str = MISSING
    micro_batch: int | None = MISSING
    steps: int = MISSING
    repeats: int = MISSING
    count: bool = MISSING
    threads: int = MISSING
    vocab_size: int = MISSING
    lr: float = MISSING
    seed: int = MISSING
    out: str = MISSING
    paths: PathsConfig = MISSING
    model: Any = MISSING
    gates: Any = MISSING
    objective: Any = MISSING
    rollout: Any = MISSING


@dataclass
class BenchGpuStepConfig:
    """Root of conf/bench_gpu_step.yaml: the parts of a training step on a GPU."""

    sizes: list[list[int]] = MISSING
    group_size: int = MISSING
    exact_size: list[int] = MISSING
    image_px: int = MISSING
    most_frames: int | None = MISSING
    decoders: list[str] = MISSING
    training: list[str] = MISSING
    repeats: int = MISSING
    vocab_size: int = MISSING
    seed: int = MISSING
    out: str = MISSING
    paths: PathsConfig = MISSING
    model: Any = MISSING
    rollout: Any = MISSING
