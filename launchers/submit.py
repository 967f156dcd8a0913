"""Submit what a study lacks: `python -m launchers.submit study=NAME cluster=slurm_1x8`; `--dry-run` only shows it.

The command plans here and returns at once; jobs compose their own configuration on the node. A run that is done, queued
or running is left out, a failed one and those behind it go again, a changed configuration is another run.
"""

from __future__ import annotations

import logging
import sys

from omegaconf import DictConfig

from o3v.cli import command

log = logging.getLogger(__name__)


@command(config_name="submit")
def main(cfg: DictConfig) -> float | None:
    """Plan, submit, show; returns how many runs were submitted."""
    from launchers.launch import launch, show_plan
    from launchers.selection import given_overrides
    from o3v.study import read_study

    overrides = given_overrides(("cluster", "logger"), cfg.select)
    study = read_study(cfg.study, overrides)
    if cfg.dry_run:
        return float(show_plan(study))
    return float(launch(study, overrides, background=cfg.background))


if __name__ == "__main__":
    from launchers.selection import translated

    sys.argv[1:] = translated(sys.argv[1:])
    main()
