"""Which runs are submitted, in which arrays, and what each waits for; pure functions of the study and the states.

A dependency is never coarser than one run's own parent: either the array elements of a batch wait each for the element
of the same number (`aftercorr`), or a single job waits for a single one (`afterok`). So the failure of one arm stops
nothing but that arm.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from launchers.jobs import Job, JobState


class Run(Protocol):
    """What a plan needs to know of a run; `o3v.study.StageRun` is one."""

    @property
    def key(self) -> str:
        """Unique in the study."""

    @property
    def stage(self) -> str:
        """Name of its stage."""

    @property
    def parent(self) -> str | None:
        """Key of the run whose weights it starts from."""

    @property
    def arms(self) -> tuple[str, ...]:
        """Who uses it."""

    @property
    def resources(self) -> Mapping[str, Any]:
        """Its whole cluster configuration."""


@dataclass(frozen=True)
class Dependency:
    """What a batch waits for.

    Attributes:
        kind: aftercorr: element i for element i of the parents' array; afterok: the one job for its one parent.
        parents: keys of the runs waited for, in the order of the batch.
    """

    kind: Literal["aftercorr", "afterok"]
    parents: tuple[str, ...]


@dataclass(frozen=True)
class Batch:
    """Runs submitted by one call of sbatch: an array, or a plain job where it is one run.

    Attributes:
        stage: of all its runs, which also have equal resources.
        keys: of the runs, in the order of the array.
        dependency: None where every parent is done.
        parallelism: elements that run at the same time.
    """

    stage: str
    keys: tuple[str, ...]
    dependency: Dependency | None
    parallelism: int


@dataclass(frozen=True)
class Work:
    """What there is to do.

    Attributes:
        todo: runs to submit, parents first.
        left_out: key -> why a run is not submitted.
        live: keys of runs that are queued or running.
        stale: keys whose old job waits for something that will not come; it is cancelled before the new one is sent.
    """

    todo: tuple[Any, ...]
    left_out: Mapping[str, str]
    live: frozenset[str]
    stale: tuple[str, ...]


def find_work(
    runs: Sequence[Run], done: Collection[str], jobs: Mapping[str, Job], states: Mapping[str, JobState]
) -> Work:
    """Which runs are missing.

    A run is left out if it is done, or if its job runs, or if its job waits for something that can still come: its
    parent is done, or is live by the very job for which this one waits.

    Args:
        runs: all runs of the study, parents first.
        done: keys of finished runs.
        jobs: key -> the job of the last launch.
        states: key -> what the scheduler says of that job; a job that it does not know is not here.
    """
    todo: list[Run] = []
    left_out: dict[str, str] = {}
    live: set[str] = set()
    stale: list[str] = []
    for run in runs:
        state = states.get(run.key)
        if run.key in done:
            left_out[run.key] = "done"
        elif state is not None and state.is_running:
            left_out[run.key] = f"running as job {jobs[run.key].id}"
            live.add(run.key)
        elif state is not None and state.is_waiting and _can_start(run, done, live, jobs):
            left_out[run.key] = f"waiting as job {jobs[run.key].id}"
            live.add(run.key)
        else:
            todo.append(run)
            stale += [run.key] if state is not None and (state.is_waiting or state.is_stuck) else []
    return Work(tuple(todo), left_out, frozenset(live), tuple(stale))


def _can_start(run: Run, done: Collection[str], live: Collection[str], jobs: Mapping[str, Job]) -> bool:
    if run.parent is None or run.parent in done:
        return True
    return run.parent in live and jobs[run.key].after in (None, jobs[run.parent].id)


def plan_batches(runs: Sequence[Run], live: Collection[str] = ()) -> list[Batch]:
    """Arrays and plain jobs for runs that are to be submitted, each behind the batch of its parents.

    Args:
        runs: to submit, in the order of the study.
        live: keys of parents that were submitted earlier and have not ended.

    Returns:
        Batches in the order of submission; every run is in exactly one.
    """
    todo = {run.key: run for run in runs}
    batch_of: dict[str, tuple[str, ...]] = {}
    parents = {run.parent for run in runs}
    planned: list[Batch] = []
    for wave in _waves(runs, todo):
        found = list(_partition(wave, todo, batch_of, live, parents))
        planned += [replace(batch, parallelism=_share(wave[0], len(found))) for batch in found]
        batch_of |= {key: batch.keys for batch in found for key in batch.keys}
    return planned


def _waves(runs: Sequence[Run], todo: Mapping[str, Run]) -> list[list[Run]]:
    """Runs of one stage and equal resources, as far behind the first ones as each other; the first ones first."""
    groups: dict[tuple[int, str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((_depth(run, todo), run.stage, repr(sorted(run.resources.items()))), []).append(run)
    return [groups[key] for key in sorted(groups, key=lambda key: key[0])]


def _depth(run: Run, todo: Mapping[str, Run]) -> int:
    depth = 0
    while run.parent is not None and run.parent in todo:
        run, depth = todo[run.parent], depth + 1
    return depth


def _partition(
    wave: Sequence[Run],
    todo: Mapping[str, Run],
    batch_of: Mapping[str, tuple[str, ...]],
    live: Collection[str],
    parents: Collection[str | None],
) -> Iterator[Batch]:
    """The batches of a wave: free ones, single ones behind live parents, those behind batches of this launch."""
    free = [run for run in wave if run.parent not in todo and run.parent not in live]
    yield from _free(free, parents)
    for run in wave:
        if run.parent in live and run.parent not in todo:
            yield _single(run)
    behind: dict[tuple[str, ...], list[Run]] = {}
    for run in wave:
        if run.parent is not None and run.parent in todo:
            behind.setdefault(batch_of[run.parent], []).append(run)
    for array, children in behind.items():
        yield from _behind(array, children)


def _free(runs: Sequence[Run], parents: Collection[str | None]) -> Iterator[Batch]:
    """One array; runs that others wait for go apart by the arms that use them, so that these arms' arrays fit them."""
    groups: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        groups.setdefault(run.arms if run.key in parents else (), []).append(run)
    for group in groups.values():
        yield _array(group, None)


def _behind(array: tuple[str, ...], children: Sequence[Run]) -> Iterator[Batch]:
    """Children of one array: as many arrays with one child of every element as there are, arms kept together."""
    left = list(children)
    while len(array) > 1:
        row = next((row for row in _rows(array, left) if row), None)
        if row is None:
            break
        yield _array(row, Dependency("aftercorr", array))
        taken = {run.key for run in row}
        left = [run for run in left if run.key not in taken]
    for run in left:
        yield _single(run)


def _rows(array: tuple[str, ...], children: Sequence[Run]) -> Iterator[list[Run]]:
    """For each set of arms, then for all together: the first child of every element, [] where one has none."""
    groups: dict[tuple[str, ...], list[Run]] = {}
    for run in children:
        groups.setdefault(run.arms, []).append(run)
    for group in (*groups.values(), children):
        first = {run.parent: run for run in reversed(group)}
        yield [first[key] for key in array] if all(key in first for key in array) else []


def _single(run: Run) -> Batch:
    return Batch(run.stage, (run.key,), Dependency("afterok", (str(run.parent),)), 1)


def _array(runs: Sequence[Run], dependency: Dependency | None) -> Batch:
    return Batch(runs[0].stage, tuple(run.key for run in runs), dependency, 1)


def _share(run: Run, batches: int) -> int:
    """Elements of one array that run at the same time, so that those of a stage together keep to the bound."""
    return max(1, int(run.resources["array_parallelism"]) // batches)
