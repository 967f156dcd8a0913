"""What a rollout says about itself: rewards by term and task, lengths, groups without a signal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from o3v.training.rl_step import Experience


def rollout_metrics(experience: Experience) -> dict[str, float]:
    """Means and spreads for logging; names are relative to `train/`.

    `reward/TERM` averages over the completions to whose task the term applies; `reward/TERM_std` is the mean standard
    deviation inside a group; `zero_variance` the share of groups whose completions all earned the same (after drawing
    again, where that is on); `resampled` how often a group was drawn again, `rescued` how many have a signal by that.
    """
    again = {"resampled": float(experience.resampled), "rescued": float(experience.rescued)}
    numbers = _length_metrics(experience) | _reward_metrics(experience) | _term_metrics(experience)
    return numbers | again | _diagnostics(experience)


def _length_metrics(experience: Experience) -> dict[str, float]:
    lengths = experience.rollout.completion_mask.sum(1).float()
    return {
        "completion_length": float(lengths.mean()),
        "completion_length_max": float(lengths.max()),
        "entropy_sampled": float(-experience.rollout.logprobs.sum() / lengths.sum()),
    }


def _reward_metrics(experience: Experience) -> dict[str, float]:
    totals = [table.totals for table in experience.tables]
    by_task: dict[str, list[float]] = {}
    for example, values in zip(experience.examples, totals, strict=True):
        assert example.sample is not None
        by_task.setdefault(str(example.sample.task), []).extend(values)
    return {
        "reward": _mean(v for values in totals for v in values),
        "reward_std": _mean(_std(values) for values in totals),
        "zero_variance": _mean(float(max(values) - min(values) < 1e-9) for values in totals),
    } | {f"reward_by_task/{task}": _mean(values) for task, values in by_task.items()}


def _term_metrics(experience: Experience) -> dict[str, float]:
    metrics: dict[str, float] = {}
    for k, term in enumerate(experience.tables[0].terms):
        columns = [[row[k] for row in table.values] for table in experience.tables if table.applies[k]]
        if columns:
            metrics[f"reward/{term}"] = _mean(v for column in columns for v in column)
            metrics[f"reward/{term}_std"] = _mean(_std(column) for column in columns)
    return metrics


def _diagnostics(experience: Experience) -> dict[str, float]:
    names = {name for table in experience.tables for name in table.diagnostics}
    return {
        name: _mean(v for table in experience.tables for v in table.diagnostics.get(name, ())) for name in sorted(names)
    }


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed) if listed else 0.0


def _std(values: Sequence[float]) -> float:
    if len(values) < 2:
        return 0.0
    centre = _mean(values)
    return (sum((v - centre) ** 2 for v in values) / (len(values) - 1)) ** 0.5
