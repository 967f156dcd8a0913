"""Draw completions for training with vLLM: `python -m o3v.serve_rollouts`, in vLLM's own environment.

It needs vLLM, hydra and rich, and none of the libraries of training (requirements-vllm.txt). Weights come with the
first question of a run with `engine=vllm_server`.
"""

from __future__ import annotations

import logging
import threading

from omegaconf import DictConfig

from o3v.cli import command

log = logging.getLogger(__name__)


@command(config_name="serve_rollouts")
def main(cfg: DictConfig) -> None:
    """Serve until interrupted."""
    from o3v.config import build
    from o3v.rollout.serving import ServerSettings, serving
    from o3v.rollout.vllm_engine import VllmEngine

    settings = ServerSettings(cfg.host, cfg.port, cfg.weights_root, cfg.key_variable)
    settings.key()
    with serving(VllmEngine(build(cfg, "vllm")), settings) as url:
        log.info("%s draws completions; weights are read from below %s", url, settings.weights_root)
        threading.Event().wait()


if __name__ == "__main__":
    main()
