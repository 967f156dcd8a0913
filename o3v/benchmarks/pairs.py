"""Two result files beside each other: differences on the samples that both have, and whether they are chance."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from o3v.benchmarks.permutation import holm, swap_test
from o3v.benchmarks.records import Record, read_records
from o3v.benchmarks.report import Grid, Summarised, compare_columns
from o3v.benchmarks.shards import read_folder
from o3v.benchmarks.statistics import Columns, Derived, Estimate, PairedDifference, estimate_columns
from o3v.errors import ConfigError, DataError

_EXAMPLES = 3


class Compared(Summarised, Protocol):
    """What a comparison needs of a benchmark."""

    @property
    def shown(self) -> tuple[str, ...]:
        """Columns of the main table, in order."""


@dataclass(frozen=True)
class RecordScores:
    """A benchmark that knows nothing but the scores in the records: every score is a column.

    Attributes:
        resamples: bootstrap draws of an interval.
        seed: of the draws.
    """

    resamples: int
    seed: int

    @property
    def shown(self) -> tuple[str, ...]:
        """All that the records have."""
        return ()

    def columns(self, records: Sequence[Record]) -> dict[str, np.ndarray]:
        """Name -> [N] values, nan where a record does not have the score."""
        names = dict.fromkeys(name for record in records for name in record.scores)
        return {name: np.array([record.scores.get(name, np.nan) for record in records], dtype=float) for name in names}

    def derived(self, names: Collection[str]) -> Derived:
        """Nothing is made of the means."""
        return {}

    def summary(self, records: Sequence[Record]) -> dict[str, Estimate]:
        """Means with intervals clustered by video."""
        videos = [record.video for record in records]
        return estimate_columns(self.columns(records), videos, {}, self.resamples, self.seed)


@dataclass(frozen=True)
class ColumnTest:
    """One column of a comparison.

    Attributes:
        a, b: the two numbers, on the common samples.
        difference: a - b, with interval and standard error by video.
        p: two-sided, by exchanging the systems video by video (`permutation.swap_test`).
        p_holm: the same, adjusted for the number of columns tested.
    """

    a: float
    b: float
    difference: PairedDifference
    p: float
    p_holm: float


@dataclass(frozen=True)
class Comparison:
    """Two files compared.

    Attributes:
        a, b: the files.
        columns: name -> test, in the order shown.
        n: common samples.
        videos: their videos.
        only_a, only_b: ids of samples that only one of them has; they are left out.
        notes: sentences about what makes the two less comparable.
    """

    a: str
    b: str
    columns: Mapping[str, ColumnTest]
    n: int
    videos: int
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    notes: tuple[str, ...]

    def grid(self) -> Grid:
        """One row a column; numbers times 100, rewards as they are."""
        header = ("x 100", "A", "B", "A - B", "95 % interval", "SE by video", "p", "p (Holm)", "n")
        rows = tuple((name, *_cells(name, tested)) for name, tested in self.columns.items())
        return Grid(f"A - B on {self.n} common samples of {self.videos} videos", header, rows)

    def told(self) -> tuple[str, ...]:
        """What is said below the table: the files and the notes."""
        return (f"A is {self.a}", f"B is {self.b}", *self.notes)

    def markdown(self) -> str:
        """The table and the notes."""
        return "\n".join([self.grid().markdown(), "", *(f"- {line}" for line in self.told())]) + "\n"

    def to_json(self) -> dict[str, Any]:
        """Everything as plain JSON; what is not a number is null."""
        plain: dict[str, Any] = _finite(asdict(self))
        return plain


def compare_files(a: Path, b: Path, benchmark: Compared, columns: Sequence[str] | None, exchanges: int) -> Comparison:
    """Differences a - b of two result files (records.jsonl, or the folder of a run).

    Args:
        a: one.
        b: the other.
        benchmark: knows the columns; `RecordScores` where none is at hand.
        columns: which are tested; None: those that the benchmark shows, all where it shows none of them.
        exchanges: of the test, see `swap_test`.

    Raises:
        ConfigError: a file that does not exist, or a column that the two do not have.
        DataError: a broken line, two answers to one question, no sample in common.
    """
    records_a, records_b = _read(a), _read(b)
    common = sorted(records_a.keys() & records_b.keys())
    if not common:
        raise DataError(
            f"{a} and {b} have no sample in common: {len(records_a)} and {len(records_b)} samples, "
            f"for example {min(records_a)!r} and {min(records_b)!r}"
        )
    side_a, side_b = ([side[key] for key in common] for side in (records_a, records_b))
    columns_a, columns_b = benchmark.columns(side_a), benchmark.columns(side_b)
    videos = [record.video for record in side_a]
    unmatched = len(records_a.keys() ^ records_b.keys())
    differences = compare_columns(columns_a, columns_b, videos, benchmark, unmatched)
    chosen = _chosen(differences, benchmark, columns)
    return Comparison(
        a=str(a),
        b=str(b),
        columns=_tests(
            columns_a, columns_b, videos, benchmark, {name: differences[name] for name in chosen}, exchanges
        ),
        n=len(common),
        videos=len(set(videos)),
        only_a=tuple(sorted(records_a.keys() - records_b.keys())),
        only_b=tuple(sorted(records_b.keys() - records_a.keys())),
        notes=tuple(_notes(records_a, records_b, common, len(chosen))),
    )


def _read(path: Path) -> dict[str, Record]:
    if not path.exists():
        raise ConfigError(f"{path}: no such file or folder of records")
    found: dict[str, Record] = {}
    for record in read_folder(path).values() if path.is_dir() else read_records(path):
        if record.sample_id in found:
            raise DataError(f"{path}: two answers to {record.sample_id!r}")
        found[record.sample_id] = record
    if not found:
        raise DataError(f"{path}: no records")
    return found


def _chosen(found: Mapping[str, PairedDifference], benchmark: Compared, columns: Sequence[str] | None) -> list[str]:
    if columns is None:
        return [name for name in benchmark.shown if name in found] or list(found)
    unknown = [name for name in columns if name not in found]
    if unknown:
        raise ConfigError(f"columns={unknown}: not in both files; there are {list(found)}")
    return list(columns)


def _tests(
    a: Columns,
    b: Columns,
    videos: Sequence[str],
    benchmark: Compared,
    differences: Mapping[str, PairedDifference],
    exchanges: int,
) -> dict[str, ColumnTest]:
    shared = [name for name in a if name in b]
    derived = {name: make for name, make in benchmark.derived(shared).items() if name in differences}
    p = swap_test(a, b, videos, derived, exchanges, benchmark.seed)
    p = {name: p[name] for name in differences}
    adjusted = holm(p)
    means_a, means_b = _means(a, b, shared)
    return {
        name: ColumnTest(
            _number(name, means_a, derived), _number(name, means_b, derived), difference, p[name], adjusted[name]
        )
        for name, difference in differences.items()
    }


def _means(a: Columns, b: Columns, names: Sequence[str]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Means over the samples for which both have a value, as [1] arrays."""
    both = {name: ~(np.isnan(a[name]) | np.isnan(b[name])) for name in names}
    return tuple(  # type: ignore[return-value]
        {n: np.array([side[n][both[n]].mean() if both[n].any() else np.nan]) for n in names} for side in (a, b)
    )


def _number(name: str, means: Mapping[str, np.ndarray], derived: Derived) -> float:
    return float(derived[name](means)[0] if name in derived else means[name][0])


def _notes(a: Mapping[str, Record], b: Mapping[str, Record], common: Sequence[str], tested: int) -> list[str]:
    notes = []
    for name, ids in (("A", sorted(a.keys() - b.keys())), ("B", sorted(b.keys() - a.keys()))):
        if ids:
            notes.append(
                f"{len(ids)} samples are only in {name} and left out, for example {', '.join(ids[:_EXAMPLES])}"
            )
    for what in ("prompt_hash", "frames", "pixels", "definition", "prompt_version", "parser_version"):
        differ = sum(getattr(a[key], what) != getattr(b[key], what) for key in common)
        if differ:
            notes.append(f"{what} differs in {differ} of {len(common)} common samples")
    for name, side in (("A", a), ("B", b)):
        failed = sum(side[key].error is not None for key in common)
        if failed:
            notes.append(f"{failed} of {len(common)} samples could not be answered by {name}; they count as wrong")
    if tested > 1:
        notes.append(f"{tested} columns are tested: read p (Holm) unless one of them was chosen before looking")
    return notes


def _cells(name: str, tested: ColumnTest) -> tuple[str, ...]:
    scale, digits = (1.0, 3) if name.startswith("reward/") else (100.0, 1)

    def text(value: float, sign: str = "") -> str:
        return "-" if math.isnan(value) else f"{round(scale * value, digits) + 0.0:{sign}.{digits}f}"  # no -0.0

    found = tested.difference
    interval = f"{text(found.low, '+')} to {text(found.high, '+')}"
    return (
        text(tested.a),
        text(tested.b),
        text(found.mean, "+"),
        interval,
        text(found.se),
        f"{tested.p:.2g}",
        f"{tested.p_holm:.2g}",
        str(found.n),
    )


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
