"""What the root file of the export may hold: keys and types, without values."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING

from o3v.schemas import PathsConfig


@dataclass
class ExportConfig:
    """Root of conf/export.yaml: a checkpoint, and the folder that it becomes."""

    checkpoint: str = MISSING
    out: str = MISSING
    dtype: str = MISSING
    max_shard_gb: float = MISSING
    adapter_only: bool = MISSING
    base: str | None = MISSING
    license: str | None = MISSING
    again: bool = MISSING
    paths: PathsConfig = MISSING
