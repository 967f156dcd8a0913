"""From paths to one answer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from o3v.benchmarks.voting.consistency import consistency, supports
from o3v.benchmarks.voting.paths import Path
from o3v.errors import ConfigError

RULES = ("none", "majority", "confidence", "evidence")
"""How paths are weighed, see `weigh`."""

TIES = ("abstain", "first_path")
"""What happens between answers of equal weight: no answer, or the one that was given first."""

_SAME = 1e-9
"""Weights closer than this are equal: sums of 0.2 and 0.6 differ in their last digit."""


@dataclass(frozen=True)
class Rule:
    """How paths are weighed and ties are settled.

    Attributes:
        weights: a name of `RULES`.
        ties: a name of `TIES`.
        sigma_s: time kernel of `evidence`, seconds.
        floor: least weight of `evidence`.
    """

    weights: str
    ties: str
    sigma_s: float
    floor: float

    def __post_init__(self) -> None:
        for key, value, allowed in (("weights", self.weights, RULES), ("ties", self.ties, TIES)):
            if value not in allowed:
                raise ConfigError(f"voting.{key}={value!r}: allowed are {', '.join(allowed)}")
        if not self.sigma_s > 0:
            raise ConfigError(f"voting.sigma_s={self.sigma_s}: must be above 0")
        if not 0 <= self.floor <= 1:
            raise ConfigError(f"voting.floor={self.floor}: must lie between 0 and 1")


@dataclass(frozen=True)
class Ballot:
    """The outcome of a vote.

    Attributes:
        answer: the one that is believed; None: abstained, which counts as wrong.
        path: index of the first path that gave it (with any weight); None where none did.
        weights: of the paths, in order; 0 where a path has no answer.
        totals: answer -> sum of its weights above 0, answers in the order in which they were given.
        tied: answers of the greatest weight where there are several, in the order in which they were given.
    """

    answer: str | None
    path: int | None
    weights: tuple[float, ...]
    totals: Mapping[str, float]
    tied: tuple[str, ...]


def vote(paths: Sequence[Path], rule: Rule) -> Ballot:
    """The answer of the greatest total weight.

    No path with an answer, or all weights 0: no answer. Equal totals: see `Rule.ties`. Under `none` only the first
    path counts. Except for `none` and `ties: first_path` the order of paths does not matter.

    Differs from the reference: it predicts the first letter where there is nothing to believe, and of equals
    (test_videomme.py:220-226), see `reference_vote`.

    Example:
        >>> def path(answer, relevance):
        ...     return Path(answer, True, relevance, 1, None, (), 0, None)
        >>> rule = Rule("confidence", "abstain", 1.0, 0.2)
        >>> vote([path("A", 0.2), path("A", 0.2), path("B", 0.6), path(None, 1.0)], rule).answer
        'B'
        >>> vote([path("A", 0.6), path("B", 0.6)], rule)
        Ballot(answer=None, path=None, weights=(0.6, 0.6), totals={'A': 0.6, 'B': 0.6}, tied=('A', 'B'))
    """
    return elect([path.answer for path in paths], weigh(paths, rule), rule.ties)


def elect(answers: Sequence[str | None], weights: Sequence[float], ties: str) -> Ballot:
    """The answer of the greatest total weight, see `vote`.

    Args:
        answers: one a path.
        weights: of the paths, not negative.
        ties: a name of `TIES`.

    Example:
        >>> elect(["A", "B", "B"], [1.0, 0.2, 0.6], "abstain").answer
        'A'
    """
    by_answer: dict[str, list[float]] = {}
    for given, weight in zip(answers, weights, strict=True):
        if given is not None and weight > 0:
            by_answer.setdefault(given, []).append(weight)
    totals = {answer: math.fsum(found) for answer, found in by_answer.items()}
    most = max(totals.values(), default=0.0)
    leaders = tuple(answer for answer, total in totals.items() if total >= most - _SAME)
    answer = leaders[0] if len(leaders) == 1 or (leaders and ties == "first_path") else None
    path = next((k for k, given in enumerate(answers) if weights[k] > 0 and given == answer), None)
    return Ballot(answer, path, tuple(weights), totals, leaders if len(leaders) > 1 else ())


def weigh(paths: Sequence[Path], rule: Rule) -> tuple[float, ...]:
    """Weight of every path: 0 without an answer or without the thinking that was asked for, as in the released code.

    none: 1 for the first path. majority: 1. confidence: the path's `relevance`. evidence: by `consistency`.
    """
    if rule.weights == "evidence":
        everyone = range(len(paths))
        return evidence_weights(paths, consistency(paths, supports(paths, rule.sigma_s), everyone), everyone, rule)
    return local_weights(paths, range(len(paths)), rule)


def local_weights(paths: Sequence[Path], chosen: Sequence[int], rule: Rule) -> tuple[float, ...]:
    """Weights of the chosen paths under the rules that look at one path alone; see `weigh`."""
    if rule.weights == "none":
        raw = [float(position == 0) for position in range(len(chosen))]
    else:
        raw = [paths[k].relevance if rule.weights == "confidence" else 1.0 for k in chosen]
    return _counted(paths, chosen, raw)


def evidence_weights(
    paths: Sequence[Path], found: Sequence[float], chosen: Sequence[int], rule: Rule
) -> tuple[float, ...]:
    """Weights of the chosen paths from their consistency: floor + (1 - floor) * consistency."""
    return _counted(paths, chosen, [rule.floor + (1 - rule.floor) * value for value in found])


def _counted(paths: Sequence[Path], chosen: Sequence[int], raw: Sequence[float]) -> tuple[float, ...]:
    counts = [paths[k].answer is not None and paths[k].thought for k in chosen]
    return tuple(weight if valid else 0.0 for weight, valid in zip(raw, counts, strict=True))


def reference_vote(paths: Sequence[Path], rule: Rule, letters: Sequence[str]) -> Ballot:
    """What the released scripts predict: the first letter of the greatest sum, also when every sum is 0.

    Sums are added in order, so that equal ones may differ in their last digit, as there (test_videomme.py:220-226). A
    path at which they stop (`Path.fault`) leaves no answer.

    Args:
        paths: of one question.
        rule: its `weights`; ties are the first letter's.
        letters: that can be voted for, in order.

    Example:
        >>> reference_vote([Path(None, True, 0.2, 0, None, (), 0, None)], Rule("majority", "abstain", 1.0, 0.2), "AB")
        Ballot(answer='A', path=None, weights=(0.0,), totals={'A': 0.0, 'B': 0.0}, tied=())
    """
    weights = weigh(paths, rule)
    totals = dict.fromkeys(letters, 0.0)
    for path, weight in zip(paths, weights, strict=True):
        if path.answer in totals:
            totals[path.answer] += weight
    if any(path.fault for path in paths):
        return Ballot(None, None, weights, totals, ())
    answer = max(totals, key=lambda letter: totals[letter])
    given = (k for k, path in enumerate(paths) if path.answer == answer)  # also one without weight, as there
    return Ballot(answer, next(given, None), weights, totals, ())
