"""An arm against the baseline: paired on the same questions, seed by seed, and what may be said of it.

On the questions that both arms answered under every seed: the arm's number minus the baseline's, averaged over seeds.
The interval covers other seeds and other videos (`twoway.py`). p is the larger of two: the one that belongs to the
interval, and the one of the exchange test (`o3v.benchmarks.permutation`). That one exchanges the arms video by video,
under all seeds at once, since a video that is easy for one arm is so under every seed; it is exact with few videos, but
speaks of these trained models only. The larger one keeps its level against both kinds of chance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from o3v.benchmarks.pairs import Compared
from o3v.benchmarks.permutation import swap_test
from o3v.benchmarks.records import Record
from o3v.benchmarks.statistics import Columns
from o3v.comparison.pseudo import pseudo_values
from o3v.comparison.twoway import Spread, two_way

LEVEL = 0.05
Verdict = Literal["better", "worse", "no difference shown"]
Pairs = Sequence[tuple[str, str]]
"""Keys of evaluations, (the arm's, the baseline's), one pair a seed."""


@dataclass(frozen=True)
class Difference:
    """An arm against the baseline on one metric.

    Attributes:
        spread: mean difference over seeds.
        p_exchange: of the exchange test, for these trained models.
        p: the larger of that and `spread.p`.
        p_holm: adjusted over the arms.
        verdict: see the head of this file.
        seeds, videos, questions: how many it rests on.
    """

    spread: Spread
    p_exchange: float
    p: float
    p_holm: float
    verdict: Verdict
    seeds: int
    videos: int
    questions: int


@dataclass(frozen=True)
class Rules:
    """How a table is made.

    Attributes:
        metrics: columns; None: those that the benchmark shows.
        lower_is_better: metrics of which less is more.
        exchanges: of the exchange test, at most.
    """

    metrics: Sequence[str] | None
    lower_is_better: Sequence[str]
    exchanges: int


def pairs_of(arm: Mapping[int, str], base: Mapping[int, str]) -> Pairs:
    """One pair a seed that both have, equal pairs once, in an order that does not depend on the seeds' order.

    >>> pairs_of({0: "x", 1: "y"}, {1: "b", 0: "b", 2: "c"})
    [('x', 'b'), ('y', 'b')]
    """
    return sorted({(arm[seed], base[seed]) for seed in arm.keys() & base.keys()})


def verdict(spread: Spread, p_holm: float, sign: int) -> Verdict:
    """What may be said of a difference; never more than its interval and its adjusted p allow.

    Args:
        spread: the difference.
        p_holm: its adjusted p.
        sign: 1 where more is better, -1 where less is.

    Example:
        >>> verdict(Spread(0.2, -0.01, 0.41, 0.1, 9, 0.06, "videos"), 0.06, 1)
        'no difference shown'
        >>> verdict(Spread(0.2, 0.01, 0.39, 0.1, 9, 0.04, "videos"), 0.04, -1)
        'worse'
    """
    if p_holm <= LEVEL and spread.low > 0:
        return "better" if sign > 0 else "worse"
    if p_holm <= LEVEL and spread.high < 0:
        return "worse" if sign > 0 else "better"
    return "no difference shown"


def paired_differences(
    records: Mapping[str, Sequence[Record]],
    benchmark: Compared,
    pairs: Pairs,
    metrics: Sequence[str],
    exchanges: int,
) -> dict[str, Difference]:
    """Metric -> difference, p not adjusted and nothing said yet; {} where the two have no question in common.

    Args:
        records: key of an evaluation -> its answers.
        benchmark: knows the columns and the numbers made of them.
        pairs: of `pairs_of`.
        metrics: wanted; those that are not there are left out.
        exchanges: of the exchange test, at most.
    """
    if not pairs:
        return {}
    by_id = {key: {record.sample_id: record for record in records[key]} for pair in pairs for key in pair}
    common = sorted(set.intersection(*(set(of) for of in by_id.values())))
    if not common:
        return {}
    sides = [tuple(benchmark.columns([by_id[key][one] for one in common]) for key in pair) for pair in pairs]
    videos = [by_id[pairs[0][0]][one].video for one in common]
    seeds = [_both_there(a, b) for a, b in sides]
    p_values = _exchange(seeds, videos, benchmark, metrics, exchanges)
    pseudo = [tuple(pseudo_values(side, videos, benchmark.derived(list(side))) for side in pair) for pair in seeds]
    found = {}
    for metric in metrics:
        if not all(metric in side.numbers for pair in pseudo for side in pair):
            continue
        there = np.logical_or.reduce([side.there[metric] for pair in pseudo for side in pair])
        if not there.any():
            continue
        spread = two_way(np.stack([a.values(metric, there) - b.values(metric, there) for a, b in pseudo]))
        p_exchange = p_values.get(metric, float("nan"))
        p = float(np.fmax(spread.p, p_exchange))
        n = max(_applies(a, metric, len(common)) for a, _ in seeds)
        found[metric] = Difference(spread, p_exchange, p, p, "no difference shown", len(pairs), int(there.sum()), n)
    return found


def _both_there(a: Columns, b: Columns) -> tuple[Columns, Columns]:
    """Columns that both have, with nan where one of the two has nothing."""
    shared = [name for name in a if name in b]
    missing = {name: np.isnan(a[name]) | np.isnan(b[name]) for name in shared}
    one, two = ({name: np.where(missing[name], np.nan, side[name]) for name in shared} for side in (a, b))
    return one, two


def _applies(columns: Columns, metric: str, n: int) -> int:
    return int((~np.isnan(columns[metric])).sum()) if metric in columns else n


def _exchange(
    seeds: Sequence[tuple[Columns, Columns]],
    videos: Sequence[str],
    benchmark: Compared,
    metrics: Sequence[str],
    exchanges: int,
) -> dict[str, float]:
    """P of the mean over seeds of each metric, both arms exchanged video by video under all seeds at once."""
    names = [name for name in seeds[0][0] if all(name in side for pair in seeds for side in pair)]
    made = {name: function for name, function in benchmark.derived(names).items() if name in metrics}
    used = names if made else [name for name in names if name in metrics]
    a, b = ({f"{s}:{name}": pair[side][name] for s, pair in enumerate(seeds) for name in used} for side in (0, 1))
    numbers: dict[str, Any] = {name: _seed_mean(len(seeds), name, None, used) for name in used if name in metrics}
    numbers |= {name: _seed_mean(len(seeds), name, function, used) for name, function in made.items()}
    found = swap_test(a, b, videos, numbers, exchanges, benchmark.seed)
    return {name: found[name] for name in numbers if name in found}


def _seed_mean(count: int, name: str, function: Any, names: Sequence[str]) -> Any:
    """The mean over seeds of a column's mean, or of a number made of the columns' means."""

    def of(means: Columns) -> np.ndarray:
        if function is None:
            values = [means[f"{s}:{name}"] for s in range(count)]
        else:
            values = [function({key: means[f"{s}:{key}"] for key in names}) for s in range(count)]
        return np.mean(values, axis=0)  # type: ignore[no-any-return]

    return of
