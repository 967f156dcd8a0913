"""The way from a composed configuration to plain values and objects, and the list of the root files' schemas."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from o3v.cluster import register_resolvers
from o3v.errors import ConfigError, UserError
from o3v.schemas import (
    AnswerConfig,
    BenchGpuStepConfig,
    BenchStepConfig,
    DemoConfig,
    EvaluateConfig,
    PairedConfig,
    PretrainConfig,
    RescoreConfig,
    TrainConfig,
)
from o3v.schemas_check import BenchCheckConfig, CheckConfig
from o3v.schemas_compare import BenchCoverageConfig, CompareConfig
from o3v.schemas_curate import BenchCurationConfig, CurateConfig
from o3v.schemas_export import ExportConfig
from o3v.schemas_launch import CancelConfig, StatusConfig, SubmitConfig
from o3v.schemas_mixing import BenchPaddingConfig, PassRatesConfig
from o3v.schemas_plan import BenchPlanConfig, BenchScaleConfig, PlanConfig
from o3v.schemas_serve import ServeRolloutsConfig
from o3v.schemas_study import StudyConfig
from o3v.schemas_sync import SyncConfig
from o3v.schemas_video import BenchVideoConfig

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
    "bench_video": BenchVideoConfig,
    "check": CheckConfig,
    "bench_check": BenchCheckConfig,
    "study": StudyConfig,
    "pass_rates": PassRatesConfig,
    "bench_padding": BenchPaddingConfig,
    "compare": CompareConfig,
    "bench_coverage": BenchCoverageConfig,
    "curate": CurateConfig,
    "bench_curation": BenchCurationConfig,
    "plan": PlanConfig,
    "bench_plan": BenchPlanConfig,
    "bench_scale": BenchScaleConfig,
    "sync": SyncConfig,
    "export": ExportConfig,
    "serve_rollouts": ServeRolloutsConfig,
    "submit": SubmitConfig,
    "status": StatusConfig,
    "cancel": CancelConfig,
}
"""Name of the root file in conf/ -> its schema."""


def register_schemas(names: Iterable[str] = ROOTS) -> None:
    """Make schemas known to Hydra as `base_train` and so on; doing it again does no harm.

    Args:
        names: of root files. Hydra copies all that it knows once for each group that it lists, so a command registers
            its own alone.
    """
    register_resolvers()
    store = ConfigStore.instance()
    for name in names:
        store.store(name=f"base_{name}", node=ROOTS[name])


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
