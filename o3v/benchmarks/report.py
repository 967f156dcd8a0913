"""Several results side by side: means with intervals, and paired differences on the same samples."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from rich.table import Table

from o3v.benchmarks.records import Record
from o3v.benchmarks.statistics import (
    Columns,
    Derived,
    Estimate,
    PairedDifference,
    as_difference,
    estimate_columns,
    paired_columns,
)
from o3v.errors import ConfigError, DataError, StorageError


class Summarised(Protocol):
    """What a report needs of a benchmark."""

    @property
    def resamples(self) -> int:
        """Bootstrap draws of an interval."""

    @property
    def seed(self) -> int:
        """Seed of the draws."""

    def columns(self, records: Sequence[Record]) -> dict[str, np.ndarray]:
        """Name -> [N] values, nan where a column does not apply."""

    def derived(self, names: Collection[str]) -> Derived:
        """Numbers made of the columns' means."""

    def summary(self, records: Sequence[Record]) -> dict[str, Estimate]:
        """Means with intervals."""


@dataclass(frozen=True)
class Grid:
    """A table of texts, shown on a terminal or written as Markdown.

    Attributes:
        title: what it shows.
        header: names of the columns; the first one names the rows.
        rows: texts, as many a row as the header has.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def rich(self) -> Table:
        """For a terminal."""
        table = Table(title=self.title, title_justify="left")
        for index, name in enumerate(self.header):
            table.add_column(name, justify="left" if index == 0 else "right", no_wrap=index > 0)
        for row in self.rows:
            table.add_row(*row)
        return table

    def markdown(self) -> str:
        r"""For a document.

        >>> print(Grid("t", ("a", "b"), (("x|y", "1"),)).markdown())
        **t**
        <BLANKLINE>
        | a | b |
        |---|---|
        | x\|y | 1 |
        """
        lines = [self.header, ("---",) * len(self.header), *self.rows]
        cells = [[cell.replace("|", "\\|") for cell in line] for line in lines]
        body = [
            "|" + "|".join(line) + "|" if i == 1 else "| " + " | ".join(line) + " |" for i, line in enumerate(cells)
        ]
        return "\n".join([f"**{self.title}**", "", *body])


@dataclass(frozen=True)
class Report:
    """Results side by side.

    Attributes:
        title: of the tables.
        results: name of a result -> column -> estimate.
        differences: (name, compared with) -> column -> difference name - compared with.
    """

    title: str
    results: Mapping[str, Mapping[str, Estimate]]
    differences: Mapping[tuple[str, str], Mapping[str, PairedDifference]]

    def results_grid(self, columns: Sequence[str]) -> Grid:
        """One row a result; `value ± half the width of the 95 % interval`, and n of the first column that is there.

        Args:
            columns: which, in this order; those that no result has are left out.
        """
        shown = [name for name in columns if any(name in row for row in self.results.values())]
        rows = tuple(
            (name, *(_estimate_text(column, row.get(column)) for column in shown)) for name, row in self.results.items()
        )
        counts = tuple(_count_text(self.results, column) for column in shown)
        return Grid(
            f"{self.title} x 100, rewards as they are (± half the 95 % interval, by video)",
            ("", *shown),
            (*rows, ("n", *counts)),
        )

    def differences_grid(self, columns: Sequence[str]) -> Grid:
        """One row a pair and column: difference ± two standard errors, both kinds of standard error, z, p, n."""
        header = ("difference", "column", "mean ± 2 SE", "SE by video", "SE by sample", "z", "p", "n", "videos")
        rows = tuple(
            _difference_row(pair, column, found[column])
            for pair, found in self.differences.items()
            for column in columns
            if column in found
        )
        return Grid(f"{self.title}: paired differences x 100, rewards as they are", header, rows)

    def to_json(self) -> dict[str, Any]:
        """Everything in the report as plain JSON; what is not a number is null."""
        return {
            "title": self.title,
            "results": {name: {key: _plain(value) for key, value in row.items()} for name, row in self.results.items()},
            "differences": [
                {"of": a, "minus": b, "columns": {key: _plain(value) for key, value in found.items()}}
                for (a, b), found in self.differences.items()
            ],
        }


def build_report(
    title: str,
    results: Mapping[str, Sequence[Record]],
    benchmark: Summarised,
    pairs: Sequence[tuple[str, str]],
) -> Report:
    """Summaries of several results, and differences of pairs of them.

    Args:
        title: of the tables.
        results: name -> records, in the order to show.
        benchmark: knows columns and summary.
        pairs: (a, b): the difference a - b on the samples that both have.

    Raises:
        ConfigError: a pair names a result that is not there.
        DataError: a pair has no sample in common.
    """
    for name in {name for pair in pairs for name in pair}:
        if name not in results:
            raise ConfigError(f"no result {name!r} to compare; there are {list(results)}")
    return Report(
        title=title,
        results={name: benchmark.summary(records) for name, records in results.items()},
        differences={(a, b): compare(results[a], results[b], benchmark) for a, b in pairs},
    )


def compare(a: Sequence[Record], b: Sequence[Record], benchmark: Summarised) -> dict[str, PairedDifference]:
    """Difference a - b of every column that both have, and of the numbers made of columns.

    Means are compared sample by sample. For derived numbers both systems are resampled together, and the standard
    error is the spread of the resampled difference (`se_independent` is nan).

    Raises:
        DataError: no sample in common.
    """
    a_of, b_of = ({record.sample_id: record for record in records} for records in (a, b))
    common = sorted(a_of.keys() & b_of.keys())
    if not common:
        raise DataError("the two results have no sample in common")
    columns_a, columns_b = (benchmark.columns([of[key] for key in common]) for of in (a_of, b_of))
    unmatched = len(a_of.keys() ^ b_of.keys())
    return compare_columns(columns_a, columns_b, [a_of[key].video for key in common], benchmark, unmatched)


def compare_columns(
    a: Columns, b: Columns, videos: Sequence[str], benchmark: Summarised, unmatched: int
) -> dict[str, PairedDifference]:
    """`compare` of columns that are there already.

    Args:
        a: name -> [N] values of one system, nan where a column does not apply.
        b: the same of the other, of the same samples in the same order.
        videos: [N] media file of each sample.
        benchmark: knows the numbers made of columns.
        unmatched: samples that only one of the two has.
    """
    found = paired_columns(a, b, videos, benchmark.resamples, benchmark.seed)
    shared = [name for name in a if name in b]
    derived = _derived_differences(a, b, benchmark.derived(shared))
    both = {f"{side}:{key}": values for side, columns in (("a", a), ("b", b)) for key, values in columns.items()}
    estimates = estimate_columns(both, videos, derived, benchmark.resamples, benchmark.seed) if derived else {}
    return found | {name: as_difference(estimates[name], None, unmatched) for name in derived}


def write_report(report: Report, folder: Path, columns: Sequence[str], more: Sequence[Grid] = ()) -> None:
    """Writes report.json (everything) and report.md (the tables, `more` last). Raises StorageError."""
    grids = [report.results_grid(columns), report.differences_grid(columns), *more]
    texts = {
        "report.json": json.dumps(report.to_json(), indent=2, ensure_ascii=False) + "\n",
        "report.md": "\n\n".join(grid.markdown() for grid in grids if grid.rows) + "\n",
    }
    for name, text in texts.items():
        temporary = folder / f".{name}.tmp"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            temporary.write_text(text, encoding="utf-8")
            os.replace(temporary, folder / name)
        except OSError as error:
            raise StorageError(f"{folder / name}: cannot write ({error.strerror or error})") from error


def _derived_differences(columns_a: Columns, columns_b: Columns, derived: Derived) -> Derived:
    def difference(name: str) -> Any:
        def of(means: Columns) -> np.ndarray:
            one = derived[name]({key: means[f"a:{key}"] for key in columns_a})
            two = derived[name]({key: means[f"b:{key}"] for key in columns_b})
            return one - two

        return of

    return {name: difference(name) for name in derived}


def _scaled(column: str, *values: float) -> tuple[str, ...]:
    raw = column.startswith("reward/")
    return tuple("-" if math.isnan(v) else f"{v:.3f}" if raw else f"{100 * v:.1f}" for v in values)


def _estimate_text(column: str, estimate: Estimate | None) -> str:
    if estimate is None:
        return "-"
    value, half = _scaled(column, estimate.value, (estimate.high - estimate.low) / 2)
    return f"{value} ± {half}"


def _count_text(results: Mapping[str, Mapping[str, Estimate]], column: str) -> str:
    counts = sorted({row[column].n for row in results.values() if column in row})
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]}-{counts[-1]}"


def _difference_row(pair: tuple[str, str], column: str, found: PairedDifference) -> tuple[str, ...]:
    mean, two, se, independent = _scaled(column, found.mean, 2 * found.se, found.se, found.se_independent)
    sign = "+" if found.mean > 0 else ""
    numbers = (f"{found.z:.2f}", f"{found.p:.2g}", str(found.n), str(found.clusters))
    return (f"{pair[0]} - {pair[1]}", column, f"{sign}{mean} ± {two}", se, independent, *numbers)


def _plain(value: Estimate | PairedDifference) -> dict[str, Any]:
    return {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in asdict(value).items()}
