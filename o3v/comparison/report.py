"""Everything that a comparison found, as one value: what the terminal, the files and the page are written from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any

from o3v.comparison.collect import STATES, Collected, Unfinished
from o3v.comparison.curves import Chart
from o3v.comparison.examples import Example
from o3v.comparison.tables import BenchmarkTable

VERSION = 1
"""Of the layout of results.json."""


@dataclass(frozen=True)
class Report:
    """A study compared.

    Attributes:
        name, title, question, baseline: as declared.
        arms, seeds: as declared.
        source: where the runs were read.
        command: that makes this report again.
        states: state -> number of runs.
        tables: one a benchmark.
        charts: training curves.
        examples: the same questions side by side.
        unfinished: runs without a result.
        notes: about the whole.
    """

    name: str
    title: str
    question: str
    baseline: str
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    source: str
    command: str
    states: Mapping[str, int]
    tables: tuple[BenchmarkTable, ...]
    charts: tuple[Chart, ...]
    examples: tuple[Example, ...]
    unfinished: tuple[Unfinished, ...]
    notes: tuple[str, ...]


def make_report(
    collected: Collected,
    command: str,
    tables: Sequence[BenchmarkTable],
    charts: Sequence[Chart],
    examples: Sequence[Example],
    notes: Sequence[str],
) -> Report:
    """A report of what was collected and computed."""
    study = collected.study
    counts = {state: sum(one.state == state for one in collected.states.values()) for state in STATES}
    return Report(
        name=study.name,
        title=study.title,
        question=study.question,
        baseline=study.baseline,
        arms=tuple(study.arms),
        seeds=tuple(study.seeds),
        source=collected.source,
        command=command,
        states={state: count for state, count in counts.items() if count},
        tables=tuple(tables),
        charts=tuple(charts),
        examples=tuple(examples),
        unfinished=tuple(collected.unfinished()),
        notes=tuple(notes),
    )


def to_json(report: Report) -> dict[str, Any]:
    """The numbers of a report as plain JSON: tables, unfinished runs, notes; what is not a number is null.

    Curves and examples are left out: they are in the run folders, and the page shows them.
    """
    kept = ("name", "title", "question", "baseline", "arms", "seeds", "command", "states", "notes")
    found = {"version": VERSION} | {key: _plain(getattr(report, key)) for key in kept}
    found["tables"] = [_plain(table) for table in report.tables]
    found["unfinished"] = [_plain(one) for one in report.unfinished]
    return found


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
