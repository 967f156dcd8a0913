"""What conf/sync.yaml may hold."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING

from o3v.schemas import PathsConfig


@dataclass
class SyncConfig:
    """Root of conf/sync.yaml: unsent records of runs."""

    folder: str = MISSING
    tracking_uri: str | None = MISSING
    paths: PathsConfig = MISSING
