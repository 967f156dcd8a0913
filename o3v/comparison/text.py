"""A report as tables of text: on a terminal, and as Markdown for the README of an experiment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.console import Console
from rich.table import Table

from o3v.benchmarks.report import Grid
from o3v.comparison.collect import Unfinished
from o3v.comparison.report import Report
from o3v.comparison.tables import BenchmarkTable, Cell
from o3v.comparison.words import (
    ABSENT,
    interval_text,
    kinds_text,
    mean_text,
    number,
    p_text,
    sizes_text,
)

HEADER = ("arm", "metric", "difference", "95 % interval", "p", "p (Holm)", "verdict", "questions, videos, seeds")


def grids(report: Report) -> Iterator[Grid]:
    """For every benchmark the numbers and the differences to the baseline; last what did not finish."""
    for table in report.tables:
        yield numbers_grid(table)
        differences = differences_grid(table)
        if differences.rows:
            yield differences
    if report.unfinished:
        yield unfinished_grid(report.unfinished)


def print_whole(console: Console, table: Table) -> None:
    """Prints a table as wide as it is: one that is cut says nothing, and a narrow terminal wraps it."""
    needed = console.measure(table, options=console.options.update(max_width=10_000)).maximum
    width = console.width
    console.width = max(width, needed)
    console.print(table)
    console.width = width


def numbers_grid(table: BenchmarkTable) -> Grid:
    """One row an arm, then trivial answers and published figures."""
    rows = [
        (arm, *(mean_text(m, cells[m].mean) if m in cells else ABSENT for m in table.metrics), _seeds(cells))
        for arm, cells in table.arms.items()
    ]
    for name, found in table.trivial.items():
        cells = (number(m, found[m].value) if m in found else ABSENT for m in table.metrics)
        rows.append((f"trivial: {name}", *cells, ""))
    for arm, figures in table.published.items():
        cells = (f"{figures[m]:g}" if m in figures else ABSENT for m in table.metrics)
        rows.append((f"published: {arm}", *cells, ""))
    return Grid(f"{table.benchmark}: x 100, rewards as they are", ("", *table.metrics, "seeds"), tuple(rows))


def differences_grid(table: BenchmarkTable) -> Grid:
    """One row a metric and arm: the paired difference to the baseline and what may be said of it."""
    rows = []
    for metric in table.metrics:
        for arm, cells in table.arms.items():
            found = cells[metric].difference if metric in cells else None
            if found is None:
                continue
            spread = found.spread
            told = (f"{found.questions}, {found.videos}, {found.seeds}",)
            numbers = (number(metric, spread.value, "+"), interval_text(metric, spread.low, spread.high))
            rows.append((arm, metric, *numbers, p_text(found.p), p_text(found.p_holm), found.verdict, *told))
    return Grid(f"{table.benchmark}: paired difference to {table.baseline}", HEADER, tuple(rows))


def unfinished_grid(unfinished: tuple[Unfinished, ...]) -> Grid:
    """One row a run without a result."""
    rows = tuple(
        (one.stage, ", ".join(one.arms), ", ".join(map(str, one.seeds)), one.state, one.told or ABSENT, one.key)
        for one in unfinished
    )
    return Grid("Not finished, and not in the tables", ("stage", "arms", "seeds", "state", "known", "run"), rows)


def notes(report: Report) -> list[str]:
    """What has to be said beside the tables."""
    told = list(report.notes)
    for table in report.tables:
        told += [f"{table.benchmark}: {line}" for line in (kinds_text(table), *table.notes) if line]
        first = next((cell for cells in table.arms.values() for cell in cells.values()), None)
        if first is not None:
            told.append(f"{table.benchmark}: {table.metrics[0]} rests on {sizes_text(first)}")
    return told


def markdown(report: Report) -> str:
    """The tables and notes for a document."""
    parts = [grid.markdown() for grid in grids(report)]
    return "\n\n".join([*parts, "\n".join(f"- {line}" for line in notes(report))]).strip() + "\n"


def _seeds(cells: Mapping[str, Cell]) -> str:
    counts = sorted({cell.seeds for cell in cells.values()})
    return "-".join(map(str, dict.fromkeys([counts[0], counts[-1]]))) if counts else "0"
