"""What the configuration may hold at its root, and the way from a composed configuration to plain values and objects.

The root and `cluster` are read as data, so their keys and types are written down here; every other group is the
arguments of a class, whose constructor is its schema.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import MISSING, DictConfig, OmegaConf

from o3v.errors import ConfigError, UserError


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
        partition, account: SLURM's, None for the cluster's default.
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
    objective: Any = MISSING
    optim: Any = MISSING
    reward: Any = None
    rollout: Any = None
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


ROOTS: dict[str, type] = {
    "train": TrainConfig,
    "evaluate": EvaluateConfig,
    "answer": AnswerConfig,
    "rescore": RescoreConfig,
    "paired": PairedConfig,
    "pretrain": PretrainConfig,
    "demo": DemoConfig,
    "bench_step": BenchStepConfig,
    "bench_gpu_step": BenchGpuStepConfig,
}
"""Name of the root file in conf/ -> its schema."""


def register_schemas() -> None:
    """Make the schemas known to Hydra as `base_train` and so on; doing it again does no harm."""
    store = ConfigStore.instance()
    for name, schema in ROOTS.items():
        store.store(name=f"base_{name}", node=schema)


def resolve(cfg: DictConfig) -> dict[str, Any]:
    """The composed configuration as plain dicts, lists and values, interpolations resolved.

    Args:
        cfg: what an entry point is given.

    Returns:
        A plain nested dict. A value that was not given stays the string `???`; the check before the run has made sure
        that only `paths` holds such values.

    Example:
        >>> resolve(OmegaConf.create({"paths": {"output_dir": "out"}, "logger": {"folder": "${paths.output_dir}/csv"}}))
        {'paths': {'output_dir': 'out'}, 'logger': {'folder': 'out/csv'}}
    """
    plain = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=False)
    if not isinstance(plain, dict):
        raise ConfigError(f"the configuration must be a mapping, got {type(plain).__name__}")
    return {str(key): value for key, value in plain.items()}


def build(cfg: DictConfig, group: str, **arguments: Any) -> Any:
    """Make the object that a group describes; None where the group is null.

    Lists and mappings reach the constructor as plain lists and dicts.

    Args:
        cfg: the whole composed configuration.
        group: key below the root, with dots for parts of a group (`trainer`, `objective.optimizer`).
        **arguments: constructor arguments that are known only at run time.

    Raises:
        ConfigError: an argument is unknown or missing; names the group and the class.
        UserError: whatever the constructor raised of that kind, unchanged.

    Example:
        >>> cfg = OmegaConf.create({"reward": {"_target_": "fractions.Fraction", "numerator": 1}})
        >>> build(cfg, "reward", denominator=2)
        Fraction(1, 2)
    """
    node = OmegaConf.select(cfg, group)
    if node is None:
        return None
    try:
        made = instantiate(node, _convert_="all", **({"_partial_": True} if arguments else {}))
        return made(**arguments) if arguments else made  # Hydra would read a dataclass among them as configuration
    except InstantiationException as error:
        cause = error.__cause__ or error
        if isinstance(cause, UserError) or not _is_call_mismatch(cause):
            raise cause from None
        raise ConfigError(f"{group}: {first_line(cause)} (_target_: {node.get('_target_')})") from error


def first_line(error: BaseException) -> str:
    """The first line of an error's text, without what a library adds below it."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _is_call_mismatch(error: BaseException) -> bool:
    """Whether the error came from calling a constructor with other arguments than it has, not from inside of it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is None or trace.tb_frame.f_globals["__name__"].startswith("hydra.")
