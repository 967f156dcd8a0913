"""What conf/serve_rollouts.yaml may hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

from o3v.schemas import PathsConfig


@dataclass
class ServeRolloutsConfig:
    """Root of conf/serve_rollouts.yaml.

    Attributes:
        host, port, weights_root, key_variable: see `o3v.rollout.serving.ServerSettings`.
        vllm: how vLLM runs.
    """

    host: str = MISSING
    port: int = MISSING
    weights_root: str = MISSING
    key_variable: str = MISSING
    paths: PathsConfig = MISSING
    vllm: Any = MISSING
