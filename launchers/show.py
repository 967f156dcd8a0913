"""Tables for people."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from launchers.plan import Batch, Work
from launchers.resources import resources_of, summary
from launchers.states import DONE, FAILED, NEVER_RUNS, NEVER_SUBMITTED, RUNNING, WAITING, RunState
from o3v.study import StageRun, Study

PLAIN_WIDTH = 180
COLOURS = {DONE: "green", RUNNING: "cyan", WAITING: "yellow", FAILED: "red", NEVER_RUNS: "red", NEVER_SUBMITTED: "dim"}


def console() -> Console:
    """Standard output; where it is no terminal, wide enough that lines stay whole."""
    return Console() if sys.stdout.isatty() else Console(width=PLAIN_WIDTH)


def plan_table(
    study: Study, work: Work, batches: Sequence[Batch], waits: Mapping[str, str], ids: Mapping[str, str | None]
) -> Table:
    """Every run of a study: what it waits for, what it asks for, and whether it is submitted.

    Args:
        study: with its runs.
        work: what is left out and why.
        batches: what is submitted.
        waits: key -> dependency as sbatch is given it.
        ids: key -> job id.
    """
    table = Table(title=f"{study.name}: {study.title}")
    for name in ("stage", "run", "arm", "seed", "waits for", "resources", "state"):
        table.add_column(name, overflow="fold")
    sent = [study.runs[key] for batch in batches for key in batch.keys]
    for run in [*sent, *(study.runs[key] for key in work.left_out)]:
        state = work.left_out.get(run.key) or f"job {ids.get(run.key) or 'to come'}"
        cells = (run.stage, run.key, *who(run), waits.get(run.key, ""), summary(resources_of(run)), state)
        table.add_row(*map(Text, cells))
    return table


def status_table(name: str, title: str, states: Iterable[RunState]) -> Table:
    """Every run of a study as it is now."""
    table = Table(title=f"{name}: {title}")
    for column in ("arm", "seed", "stage", "state", "step", "time left", "job", "reason"):
        table.add_column(column, overflow="fold")
    for state in states:
        table.add_row(
            *map(Text, who(state)),
            Text(state.stage),
            Text(state.state, style=COLOURS[state.state]),
            Text(step(state)),
            Text(time_left(state)),
            Text(state.job or ""),
            Text(state.reason),
        )
    return table


def who(run: StageRun | RunState) -> tuple[str, str]:
    """Arms and seeds that use a run, for two cells."""
    return ", ".join(run.arms), ", ".join(map(str, run.seeds))


def step(state: RunState) -> str:
    """Progress, "" where there is none."""
    return "" if state.done is None else f"{state.done}/{state.total} {state.unit or ''}".strip()


def time_left(state: RunState) -> str:
    """Time until the end, and until the job's time limit where that comes first or alone is known."""
    parts = [duration(state.left_s)] if state.left_s is not None else []
    if state.limit_s is not None and (state.left_s is None or state.limit_s < state.left_s):
        parts.append(f"limit in {duration(state.limit_s)}")
    return ", ".join(parts)


def duration(seconds: int) -> str:
    """Two of days, hours, minutes and seconds.

    Example:
        >>> duration(59), duration(3600 * 27), duration(125)
        ('59 s', '1 d 3 h', '2 min 5 s')
    """
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    parts, left = [], max(0, int(seconds))
    for name, size in units:
        if left >= size:
            parts.append(f"{left // size} {name}")
            left %= size
    return " ".join(parts[:2]) or "0 s"


def counts(states: Sequence[RunState]) -> str:
    """One line, e.g. `2 done, 1 failed`."""
    found = {word: sum(state.state == word for state in states) for word in COLOURS}
    return ", ".join(f"{number} {word}" for word, number in found.items() if number)
