"""End a study's jobs: `python -m launchers.cancel study=NAME`. What they have saved stays, for the next submit."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from o3v.cli import command

if TYPE_CHECKING:
    from launchers.jobs import Job
    from launchers.ledger import Ledger

log = logging.getLogger(__name__)


@command(config_name="cancel")
def main(cfg: DictConfig) -> float | None:
    """Cancel; returns how many jobs were ended."""
    from launchers.ledger import read_ledger
    from launchers.status import study_folder
    from o3v.config_check import unknown

    folder = study_folder(cfg.paths.output_dir, cfg.study)
    known = {arm for job in read_ledger(folder, cfg.study).jobs.values() for arm in job.arms}
    for arm in cfg.arms or []:
        if arm not in known:
            raise unknown(f"arms={arm}", arm, known, "arm that was submitted")
    ended = cancel_study(folder, cfg.study, None if cfg.arms is None else set(cfg.arms))
    log.info("%d jobs were ended", len(ended))
    return float(len(ended))


def cancel_study(folder: Path, name: str, arms: Collection[str] | None) -> list[str]:
    """End the live jobs of a study's plan; returns the keys of their runs.

    Args:
        folder: of the study.
        name: of the study.
        arms: end only runs that none but these use; None for all, and for the program that starts local jobs too.

    Raises:
        ServiceError: SLURM does not answer.
        StorageError: a launch is at work.
    """
    from launchers.ledger import locked, read_ledger, write_ledger
    from launchers.local import stop_process

    with locked(folder):
        ledger = read_ledger(folder, name)
        doomed = live_jobs(ledger, arms)
        if arms is None and ledger.driver is not None:
            stop_process(*ledger.driver)  # first, with all that it started, so that it starts nothing more
        _end(doomed)
        marked = {job.key: replace(job, cancelled=True) for job in doomed}
        write_ledger(folder, replace(ledger, jobs={**ledger.jobs, **marked}))
    return list(marked)


def live_jobs(ledger: Ledger, arms: Collection[str] | None) -> list[Job]:
    """Jobs that are queued or running, children before their parents, so that none starts meanwhile."""
    from launchers.states import job_states

    states = job_states(ledger)
    found = [job for key, job in ledger.jobs.items() if key in states and job.id is not None]
    live = [
        job for job in found if states[job.key].is_running or states[job.key].is_waiting or states[job.key].is_stuck
    ]
    return [job for job in reversed(live) if arms is None or set(job.arms) <= set(arms)]


def _end(jobs: list[Job]) -> None:
    from launchers.local import stop_process
    from launchers.scheduler import cancel

    cancel([job.id for job in jobs if job.kind == "slurm" and job.id is not None])
    for job in jobs:
        if job.kind != "slurm" and job.id is not None:
            stop_process(int(job.id), job.started)


if __name__ == "__main__":
    main()
