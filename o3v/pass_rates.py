"""Pass rates of samples from saved rollouts: `python -m o3v.pass_rates rollouts=FILE out=FILE`.

The file is what `data.mix.difficulty.file` reads. Needs no model, and never imports torch.
"""

from __future__ import annotations

import logging

from omegaconf import DictConfig

from o3v.cli import command

log = logging.getLogger(__name__)


@command(config_name="pass_rates")
def main(cfg: DictConfig) -> float | None:
    """Write the file; returns the mean pass rate."""
    from pathlib import Path

    from o3v.config import build
    from o3v.errors import DataError
    from o3v.replay.files import write_json
    from o3v.replay.format import read_rollouts
    from o3v.replay.pass_rates import pass_rates

    groups = ((group, float(cfg.progress)) for group in read_rollouts(Path(cfg.rollouts)))
    rates = pass_rates(groups, build(cfg, "reward"), list(cfg.terms), float(cfg.threshold))
    if not rates:
        raise DataError(f"{cfg.rollouts}: no line has a task to which one of terms={list(cfg.terms)} applies")
    write_json(Path(cfg.out), rates)
    mean = sum(rates.values()) / len(rates)
    never, always = (sum(rate == end for rate in rates.values()) for end in (0.0, 1.0))
    log.info("%s: %d samples, mean %.3f, %d never right, %d always", cfg.out, len(rates), mean, never, always)
    return mean


if __name__ == "__main__":
    main()
