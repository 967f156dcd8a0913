"""What the root files of the launchers may hold: conf/submit.yaml, conf/status.yaml, conf/cancel.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

from o3v.schemas import ClusterConfig, PathsConfig


@dataclass
class SubmitConfig:
    """Root of conf/submit.yaml.

    Attributes:
        study: file of conf/experiment.
        select: overrides of the study, e.g. seeds=[0,1].
        dry_run: only show the plan and the batch files.
        background: return at once where the study runs on this machine.
    """

    study: str = MISSING
    select: list[str] = MISSING
    dry_run: bool = MISSING
    background: bool = MISSING
    paths: PathsConfig = MISSING
    logger: Any = None
    cluster: ClusterConfig = MISSING


@dataclass
class StatusConfig:
    """Root of conf/status.yaml.

    Attributes:
        study: file of conf/experiment.
        select: overrides of the study; those of the last launch hold without being given again.
        out: table or json.
    """

    study: str = MISSING
    select: list[str] = MISSING
    out: str = MISSING
    paths: PathsConfig = MISSING


@dataclass
class CancelConfig:
    """Root of conf/cancel.yaml.

    Attributes:
        study: whose jobs end.
        arms: only theirs, and not what other arms use too; null for all.
    """

    study: str = MISSING
    arms: list[str] | None = MISSING
    paths: PathsConfig = MISSING
