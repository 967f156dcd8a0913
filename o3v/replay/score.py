"""Scores of saved rollouts under a reward mix: one number a term and completion, and what could not be computed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeGuard

from o3v.replay.format import RolloutGroup
from o3v.rewards.mix import RewardMix
from o3v.rewards.reasons import verdicts
from o3v.rewards.reference import CallOutcome, ReferenceRow
from o3v.types import Task


class JudgesCalls(Protocol):
    """A term whose value for a completion depends on the whole call, as the released code's does."""

    def call(self, texts: Sequence[str | None], rows: Sequence[ReferenceRow], progress: float) -> CallOutcome:
        """Values of G texts, or why there are none."""
        ...


@dataclass(frozen=True)
class Scores:
    """A group under one mix.

    Attributes:
        terms: name -> G values, or None where the released code would have raised for the whole call. A value is a
            number, or the nested list that the released code returns in its place.
        applies: name -> does the term apply to the task of the first sample.
        totals: G weighted sums; what is no number counts 0.
        raised: name -> the released code's exception, for the terms without values.
        undefined: values that are not defined for lack of an annotation, and count 0.
        claims: claims that the mix's terms judge.
        open_claims: those among them that pass the temporal gate.
    """

    terms: Mapping[str, tuple[Any, ...] | None]
    applies: Mapping[str, bool]
    totals: tuple[float, ...]
    raised: Mapping[str, str]
    undefined: int
    claims: int
    open_claims: int

    def line(self) -> dict[str, Any]:
        """`reward` and `total` of the written file; numbers that are not finite are written as words."""
        return {
            "reward": {name: None if row is None else [_written(v) for v in row] for name, row in self.terms.items()},
            "total": [_written(total) for total in self.totals],
        }


def score_group(mix: RewardMix, group: RolloutGroup, progress: float) -> Scores:
    """Score the completions of a group.

    Args:
        mix: terms and weights.
        group: a line of a rollout file.
        progress: share of the training done, for annealed terms.
    """
    outcomes = {
        name: term.call(group.texts, group.rows, progress) for name, term in mix.terms.items() if judges_calls(term)
    }
    terms, undefined = _own(_without(mix, set(outcomes)), group, progress)
    terms |= {name: outcome.values for name, outcome in outcomes.items()}
    claims = [verdict for term in mix.terms.values() for verdict in _verdicts(term, group)]
    task = group.samples[0].task if group.samples else None
    return Scores(
        terms={name: terms[name] for name in mix.terms},
        applies={name: task in term.tasks for name, term in mix.terms.items()},
        totals=tuple(_total(mix, terms, g) for g in range(len(group.texts))),
        raised={name: outcome.raised for name, outcome in outcomes.items() if outcome.raised},
        undefined=undefined,
        claims=len(claims),
        open_claims=sum(verdict.frame is not None for verdict in claims),
    )


def judges_calls(term: object) -> TypeGuard[JudgesCalls]:
    """Does a term want the whole call; quicker than asking a runtime protocol."""
    return callable(getattr(term, "call", None))


def _without(mix: RewardMix, left_out: set[str]) -> RewardMix:
    if not left_out:
        return mix
    names = [name for name in mix.terms if name not in left_out]
    return RewardMix({name: mix.terms[name] for name in names}, {name: mix.weights[name] for name in names})


def _own(part: RewardMix, group: RolloutGroup, progress: float) -> tuple[dict[str, tuple[Any, ...] | None], int]:
    """Values of this project's terms, each completion with its own sample."""
    values: list[tuple[float, ...]] = []
    undefined = 0.0
    for completions, sample in _calls(group):
        table = part(completions, sample, progress)
        values += table.values
        undefined += sum(table.diagnostics.get("undefined", ()))
    return {name: tuple(row[k] for row in values) for k, name in enumerate(part.terms)}, int(undefined)


def _calls(group: RolloutGroup) -> list[tuple[Sequence[Any], Any]]:
    if group.is_batch:
        return [((completion,), sample) for completion, sample in zip(group.completions, group.samples, strict=True)]
    return [(group.completions, group.samples[0])] if group.samples else []


def _verdicts(term: Any, group: RolloutGroup) -> list[Any]:
    pairs = zip(group.completions, group.samples, strict=True)
    return [v for done, sample in pairs if sample.task == Task.TEMPORAL_SPATIAL for v in verdicts(term, done, sample)]


def _total(mix: RewardMix, terms: Mapping[str, tuple[Any, ...] | None], g: int) -> float:
    total = 0.0
    for name in mix.terms:
        row = terms[name]
        value = row[g] if row is not None else 0.0
        total += mix.weights[name] * value if is_share(value) else 0.0
    return total


def is_share(value: Any) -> bool:
    """A finite number, and no nested list.

    >>> is_share(0.5), is_share(1), is_share([0.5]), is_share(float("nan"))
    (True, True, False, False)
    """
    return isinstance(value, float | int) and math.isfinite(value)


def _written(value: Any) -> Any:
    if isinstance(value, list):
        return [_written(one) for one in value]
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
