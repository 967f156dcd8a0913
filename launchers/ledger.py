"""plan.json in a study's folder: which job belongs to which run, and from which code and command it was sent."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from launchers.jobs import Job
from o3v.errors import DataError, StorageError
from o3v.tracking.run import RunFolder, storage

PLAN = "plan.json"
VERSION = 1


@dataclass(frozen=True)
class Launch:
    """One call of `launchers.submit`.

    Attributes:
        time: with the zone, ISO 8601.
        kind: inline, local or slurm.
        overrides: of the study.
        commit, dirty: of the code at that time.
        jobs: key of a run -> id of its job; what a later launch replaced stays here.
    """

    time: str
    kind: str
    overrides: tuple[str, ...]
    commit: str | None
    dirty: bool
    jobs: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Ledger:
    """Content of plan.json.

    Attributes:
        study: its name.
        launches: in order of time.
        jobs: key of a run -> its last job.
        driver: process id and start time of the program that starts local jobs, None where there is none.
    """

    study: str
    launches: tuple[Launch, ...] = ()
    jobs: Mapping[str, Job] = field(default_factory=dict)
    driver: tuple[int, int | None] | None = None

    def with_launch(self, launch: Launch) -> Ledger:
        """The same with one more launch."""
        return replace(self, launches=(*self.launches, launch))

    def with_jobs(self, *jobs: Job) -> Ledger:
        """The same with jobs of the last launch."""
        *before, last = self.launches
        last = replace(last, jobs={**last.jobs, **{job.key: job.id for job in jobs}})
        return replace(self, launches=(*before, last), jobs={**self.jobs, **{job.key: job for job in jobs}})


def read_ledger(folder: Path, study: str) -> Ledger:
    """The plan of a study's folder; an empty one where nothing was submitted.

    Raises:
        DataError: the file is not what this program writes.
    """
    content = RunFolder(folder).read_json(PLAN)
    if content is None:
        return Ledger(study)
    try:
        if content["version"] != VERSION:
            raise DataError(f"{folder / PLAN}: version {content['version']}, this program reads {VERSION}")
        driver = content["driver"]
        return Ledger(
            content["study"],
            tuple(Launch(**{**launch, "overrides": tuple(launch["overrides"])}) for launch in content["launches"]),
            {key: _job(key, job) for key, job in content["jobs"].items()},
            (driver[0], driver[1]) if driver else None,
        )
    except (KeyError, TypeError, IndexError) as error:
        raise DataError(f"{folder / PLAN}: not a plan ({type(error).__name__}: {error}); move the file away") from error


def write_ledger(folder: Path, ledger: Ledger) -> None:
    """Write plan.json atomically. Raises StorageError."""
    RunFolder(folder).write_json(PLAN, {"version": VERSION, **asdict(ledger)})


@contextmanager
def locked(folder: Path, wait: bool = False) -> Iterator[None]:
    """Nobody else changes this study's plan meanwhile.

    Args:
        folder: of the study; made where it is missing.
        wait: for somebody else to finish, instead of an error.

    Raises:
        StorageError: somebody else submits or cancels, or the folder cannot be written.
    """
    with storage(folder):
        folder.mkdir(parents=True, exist_ok=True)
        handle = (folder / ".plan.lock").open("w", encoding="utf-8")
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise StorageError(f"{folder}: another submit or cancel of this study is at work; wait for it") from None
        yield


def _job(key: str, content: Mapping[str, Any]) -> Job:
    job = Job(**content)
    if job.key != key:
        raise KeyError(key)
    return replace(job, arms=tuple(job.arms), seeds=tuple(job.seeds))
