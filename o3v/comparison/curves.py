"""Training curves of a study: one chart a stage and metric, one line an arm, its seeds as a mean with their range."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from o3v.comparison.collect import Collected, Curve

MAX_POINTS = 60
"""Points of a line; more steps than that are averaged in bins of equal width."""


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
        arms: who it belongs to; several where they share the very runs.
        seeds: how many runs it is the mean of.
        steps: middle of each bin.
        mean, low, high: over seeds: mean, smallest and largest of the seeds' bin means.
    """

    arms: tuple[str, ...]
    seeds: int
    steps: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class Chart:
    """One metric of one training stage.

    Attributes:
        stage, metric: what it shows.
        bin_steps: steps that one point averages over.
        lines: by arm, in the order of the study.
    """

    stage: str
    metric: str
    bin_steps: int
    lines: tuple[Line, ...]


def build_charts(collected: Collected, patterns: Sequence[str]) -> list[Chart]:
    """Charts of every training stage, stages in order, metrics in the order of the patterns that they fit.

    A line is made of the finished runs; where an arm has none, of what its runs have so far. It ends where the shortest
    of its runs ends, since a mean over fewer seeds would jump there. Metrics that are the same number throughout for
    every run (a count of faults that stays 0) are left out.
    """
    charts = []
    for stage in collected.study.stages:
        runs = _runs_of(collected, stage)
        names = dict.fromkeys(name for keys in runs.values() for key in keys for name in collected.curves[key])
        for metric in _ordered(list(names), patterns):
            chart = _chart(collected, stage, metric, runs)
            if chart is not None:
                charts.append(chart)
    return charts


def _runs_of(collected: Collected, stage: str) -> dict[tuple[str, ...], list[str]]:
    """Arms that share their runs of a training stage -> keys of these runs, finished ones if there are any."""
    runs: dict[tuple[str, ...], list[str]] = {}
    of_arm: dict[str, tuple[str, ...]] = {}
    for arm in collected.study.arms:
        keys = {key for seed in collected.study.seeds for key in collected.study.members.get((arm, seed), ())}
        of_arm[arm] = tuple(sorted(key for key in keys if collected.study.runs[key].stage == stage))
    for arm, mine in of_arm.items():
        arms = tuple(other for other in of_arm if of_arm[other] == mine)
        known = [key for key in mine if collected.curves.get(key)]
        finished = [key for key in known if collected.states[key].state == "finished"]
        if known and arms[0] == arm:
            runs[arms] = finished or known
    return runs


def _ordered(names: Sequence[str], patterns: Sequence[str]) -> list[str]:
    """Names by the first pattern that they fit, then by name; what ends in `_std` describes another metric."""

    def rank(name: str) -> tuple[int, str]:
        return next((i for i, pattern in enumerate(patterns) if fnmatchcase(name, pattern)), len(patterns)), name

    return sorted((name for name in names if not name.endswith("_std")), key=rank)


def _chart(
    collected: Collected, stage: str, metric: str, runs: Mapping[tuple[str, ...], Sequence[str]]
) -> Chart | None:
    curves = {arms: _finite([collected.curves[key].get(metric, ()) for key in keys]) for arms, keys in runs.items()}
    there = {arms: found for arms, found in curves.items() if found}
    values = {value for found in there.values() for curve in found for _, value in curve}
    if len(values) < 2:
        return None
    last = max(step for found in there.values() for curve in found for step, _ in curve)
    bin_steps = max(1, math.ceil((last + 1) / MAX_POINTS))
    return Chart(stage, metric, bin_steps, tuple(_line(arms, found, bin_steps) for arms, found in there.items()))


def _finite(curves: Sequence[Curve]) -> list[Curve]:
    kept = [tuple((step, value) for step, value in curve if math.isfinite(value)) for curve in curves]
    return [curve for curve in kept if curve]


def _line(arms: tuple[str, ...], curves: Sequence[Curve], bin_steps: int) -> Line:
    binned = [_binned(curve, bin_steps) for curve in curves]
    common = sorted(set.intersection(*(set(one) for one in binned)))
    rows = [[one[index] for one in binned] for index in common]
    return Line(
        arms=arms,
        seeds=len(curves),
        steps=tuple(index * bin_steps + (bin_steps - 1) / 2 for index in common),
        mean=tuple(math.fsum(row) / len(row) for row in rows),
        low=tuple(min(row) for row in rows),
        high=tuple(max(row) for row in rows),
    )


def _binned(curve: Curve, bin_steps: int) -> dict[int, float]:
    """Mean of the values in each bin of steps.

    >>> _binned(((0, 1.0), (1, 3.0), (2, 5.0)), 2)
    {0: 2.0, 1: 5.0}
    """
    found: dict[int, list[float]] = {}
    for step, value in curve:
        found.setdefault(step // bin_steps, []).append(value)
    return {index: math.fsum(values) / len(values) for index, values in found.items()}
