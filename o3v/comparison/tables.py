"""The table of a benchmark: arm x metric, with the paired difference to the baseline and whether it is one.

How a cell is made:

- mean: the number of every seed (the benchmark's own arithmetic over all its questions, mAM and mLGM included),
  averaged over seeds, with Student's 95 % interval over seeds; with one seed it is clustered by video, and says so.
- difference, with an interval over seeds and videos, and p: `differences.py`.
- p (Holm): adjusted for the number of arms compared with the baseline on this metric.
- verdict: `better` or `worse` only where the interval excludes 0 and p (Holm) is at most 0.05; everything else is
  `no difference shown`, which does not say that there is none.

Two seeds that share one run (an arm without seeded training) are one observation, not two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from o3v.benchmarks.pairs import Compared
from o3v.benchmarks.permutation import holm
from o3v.benchmarks.records import Record
from o3v.benchmarks.statistics import Columns
from o3v.comparison.collect import Collected
from o3v.comparison.differences import Difference, Rules, paired_differences, pairs_of, verdict
from o3v.comparison.pseudo import Pseudo, pseudo_values
from o3v.comparison.twoway import Spread, over_seeds, two_way
from o3v.errors import ConfigError


@dataclass(frozen=True)
class Cell:
    """One metric of one arm.

    Attributes:
        mean: over seeds.
        seeds, videos, questions: how many it rests on; seeds that share a run count once.
        difference: to the baseline; None for the baseline itself and where nothing is common.
    """

    mean: Spread
    seeds: int
    videos: int
    questions: int
    difference: Difference | None


@dataclass(frozen=True)
class TrivialCell:
    """A number of an answer that needs no model, with the interval of the evaluation's report (by video)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class BenchmarkTable:
    """A benchmark's table.

    Attributes:
        benchmark: its name.
        baseline: the arm compared with.
        metrics: columns, in order.
        arms: arm -> metric -> cell; arms without a finished evaluation are there with no cells.
        trivial: name of a trivial answer -> metric -> number.
        published: arm -> metric -> figure of the literature, in percent; never part of any arithmetic here.
        notes: what makes the arms less comparable.
    """

    benchmark: str
    baseline: str
    metrics: tuple[str, ...]
    arms: Mapping[str, Mapping[str, Cell]]
    trivial: Mapping[str, Mapping[str, TrivialCell]]
    published: Mapping[str, Mapping[str, float]]
    notes: tuple[str, ...]


def build_table(collected: Collected, name: str, benchmark: Compared, rules: Rules) -> BenchmarkTable:
    """The table of one benchmark of a study.

    Args:
        collected: results of the runs.
        name: of the benchmark in the study.
        benchmark: knows the columns and the numbers made of them.
        rules: see `Rules`.

    Raises:
        ConfigError: a metric that no answer has.
    """
    study = collected.study
    keys = {arm: collected.evaluations(name, arm) for arm in study.arms}
    numbers = _Numbers(collected.records, benchmark)
    metrics = _metrics(rules, benchmark, [numbers.of(key) for of_arm in keys.values() for key in of_arm.values()], name)
    base = keys[study.baseline]
    arms: dict[str, dict[str, Cell]] = {}
    for arm, of_arm in keys.items():
        means = {metric: _mean_cell(numbers, list(of_arm.values()), metric) for metric in metrics}
        differences = paired_differences(collected.records, benchmark, pairs_of(of_arm, base), metrics, rules.exchanges)
        there = {metric: cell for metric, cell in means.items() if cell is not None}
        own = {} if arm == study.baseline else differences
        arms[arm] = {metric: replace(cell, difference=own.get(metric)) for metric, cell in there.items()}
    return BenchmarkTable(
        benchmark=name,
        baseline=study.baseline,
        metrics=metrics,
        arms=_judged(arms, metrics, rules),
        trivial=_trivial(collected, keys, metrics),
        published=_published(collected, name),
        notes=tuple(_notes(collected, keys)),
    )


class _Numbers:
    """Numbers of runs with their pseudo-values, each run computed once."""

    def __init__(self, records: Mapping[str, Sequence[Record]], benchmark: Compared) -> None:
        self._records, self._benchmark = records, benchmark
        self._found: dict[str, tuple[Columns, Pseudo]] = {}

    def of(self, key: str) -> Pseudo:
        """Of one run over all its questions."""
        return self._both(key)[1]

    def questions(self, key: str, metric: str) -> int:
        """How many questions a run's number rests on; for one made of means, those that any column applies to."""
        columns = self._both(key)[0]
        if metric in columns:
            return int((~np.isnan(columns[metric])).sum())
        return len(self._records[key])

    def _both(self, key: str) -> tuple[Columns, Pseudo]:
        if key not in self._found:
            records = self._records[key]
            columns = self._benchmark.columns(records)
            derived = self._benchmark.derived(list(columns))
            self._found[key] = columns, pseudo_values(columns, [record.video for record in records], derived)
        return self._found[key]


def _metrics(rules: Rules, benchmark: Compared, found: Sequence[Pseudo], name: str) -> tuple[str, ...]:
    there = dict.fromkeys(metric for one in found for metric in one.names)
    if rules.metrics is None:
        return tuple(metric for metric in benchmark.shown if metric in there) or tuple(there)
    if found and not any(metric in there for metric in rules.metrics):
        raise ConfigError(
            f"metrics={list(rules.metrics)}: no answer to {name} has one of them; there are {list(there)}"
        )
    return tuple(metric for metric in rules.metrics if metric in there)


def _mean_cell(numbers: _Numbers, keys: Sequence[str], metric: str) -> Cell | None:
    runs = {key: numbers.of(key) for key in dict.fromkeys(keys)}
    runs = {key: found for key, found in runs.items() if not np.isnan(found.numbers.get(metric, np.nan))}
    if not runs:
        return None
    there = np.array([runs[key].numbers[metric] for key in sorted(runs)])
    videos = [int(found.there[metric].sum()) for found in runs.values()]
    questions = [numbers.questions(key, metric) for key in runs]
    return Cell(
        mean=over_seeds(there) if len(runs) > 1 else _one_run(next(iter(runs.values())), metric),
        seeds=len(runs),
        videos=max(videos),
        questions=max(questions),
        difference=None,
    )


def _one_run(found: Pseudo, metric: str) -> Spread:
    return two_way(found.values(metric)[None, :])


def _judged(arms: Mapping[str, Mapping[str, Cell]], metrics: Sequence[str], rules: Rules) -> dict[str, dict[str, Cell]]:
    """The same with p adjusted over the arms, metric by metric, and verdicts."""
    judged = {arm: dict(cells) for arm, cells in arms.items()}
    for metric in metrics:
        tested = {arm: cells[metric].difference for arm, cells in arms.items() if metric in cells}
        there = {arm: difference for arm, difference in tested.items() if difference is not None}
        adjusted = holm({arm: difference.p for arm, difference in there.items()})
        for arm, difference in there.items():
            sign = -1 if metric in rules.lower_is_better else 1
            told = verdict(difference.spread, adjusted[arm], sign)
            done = replace(difference, p_holm=adjusted[arm], verdict=told)
            judged[arm][metric] = replace(judged[arm][metric], difference=done)
    return judged


def _trivial(
    collected: Collected, keys: Mapping[str, Mapping[int, str]], metrics: Sequence[str]
) -> dict[str, dict[str, TrivialCell]]:
    """Trivial answers of the first report that has them; they depend on the questions, not on the arm."""
    for key in (key for of_arm in keys.values() for key in of_arm.values()):
        report = collected.reports[key]
        names = dict.fromkeys(found["minus"] for found in report.get("differences", ()))
        if names:
            rows = {name: report["results"].get(name, {}) for name in names}
            return {name: _trivial_row(row, metrics) for name, row in rows.items()}
    return {}


def _trivial_row(row: Mapping[str, Any], metrics: Sequence[str]) -> dict[str, TrivialCell]:
    found = {metric: row[metric] for metric in metrics if metric in row and row[metric]["value"] is not None}
    return {
        metric: TrivialCell(*(_number(one[key]) for key in ("value", "low", "high"))) for metric, one in found.items()
    }


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _published(collected: Collected, name: str) -> dict[str, dict[str, float]]:
    """Figures of this benchmark; and, named as such, of those that the study stands in for and does not measure."""
    measured = {run.benchmark for run in collected.study.runs.values()}
    rows: dict[str, dict[str, float]] = {}
    for arm, found in (collected.study.published or {}).items():
        for benchmark, figures in found.items():
            if benchmark == name:
                rows[arm] = dict(figures)
            elif benchmark not in measured:
                rows[f"{arm} on {benchmark}"] = dict(figures)
    return rows


def _notes(collected: Collected, keys: Mapping[str, Mapping[int, str]]) -> list[str]:
    """What a reader must know before comparing rows."""
    notes = []
    used = [key for of_arm in keys.values() for key in of_arm.values()]
    ids = [{record.sample_id for record in collected.records[key]} for key in dict.fromkeys(used)]
    if ids and any(one != ids[0] for one in ids):
        common = len(set.intersection(*ids))
        notes.append(
            f"the arms were not asked the same questions: differences rest on the common ones, {common} in all"
        )
    for what in ("prompt_hash", "frames", "pixels", "definition", "prompt_version", "parser_version"):
        if _differs(collected, used, what):
            notes.append(f"{what} differs between runs on the same questions")
    rewards = [collected.settings[key].get("reward") for key in used if collected.settings[key]]
    if any(reward != rewards[0] for reward in rewards):
        notes.append("the runs were scored with different rewards: columns reward/... do not compare")
    for arm, of_arm in keys.items():
        missing = [seed for seed in collected.study.seeds if seed not in of_arm]
        if missing:
            notes.append(f"{arm}: no finished evaluation for seed {', '.join(map(str, missing))}")
        if len(set(of_arm.values())) < len(of_arm):
            notes.append(f"{arm}: {len(of_arm)} seeds share {len(set(of_arm.values()))} run; it counts once")
        failed = sum(record.error is not None for key in set(of_arm.values()) for record in collected.records[key])
        if failed:
            notes.append(f"{arm}: {failed} questions could not be answered (media); they count as wrong")
    return notes


def _differs(collected: Collected, keys: Sequence[str], what: str) -> bool:
    seen: dict[str, Any] = {}
    for key in keys:
        for record in collected.records[key]:
            if record.error is None and seen.setdefault(record.sample_id, getattr(record, what)) != getattr(
                record, what
            ):
                return True
    return False
