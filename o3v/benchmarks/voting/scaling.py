"""Accuracy against the number of paths: N paths are drawn once, and every n <= N is voted on among them.

The score of n paths is the expectation over the subsets of n of the N: of all of them where they are few, else of
some drawn with a seed. With n = N there is one subset, the vote itself; with n = 1 the mean over all paths, which says
more than the first one alone. Intervals are over videos, as everywhere; they do not hold the noise of drawing N paths.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from o3v.benchmarks.statistics import Estimate, estimate_columns
from o3v.benchmarks.voting.consistency import consistency, supports
from o3v.benchmarks.voting.files import VoteRecord
from o3v.benchmarks.voting.vote import Rule, elect, evidence_weights, local_weights
from o3v.errors import ConfigError, DataError

Subset = tuple[int, ...]


@dataclass(frozen=True)
class Point:
    """A point of a curve.

    Attributes:
        rule: name of the voting rule.
        n: paths a question.
        score: mean over questions, with a 95 % interval by video.
        abstained: share of votes without an answer.
        tokens: mean generated tokens an answered question, without the scorer's single digits.
        scorer_calls: mean calls of the scorer an answered question; 0 for rules that do not ask it.
        crops: mean crops that the scorer read an answered question.
    """

    rule: str
    n: int
    score: Estimate
    abstained: float
    tokens: float
    scorer_calls: float
    crops: float


def votes_by_n(
    records: Sequence[VoteRecord],
    column: str,
    rules: Mapping[str, Rule],
    ns: Sequence[int],
    max_subsets: int,
    resamples: int,
    seed: int,
    unanswered: Sequence[str] = (),
) -> list[Point]:
    """The curve of every rule.

    Args:
        records: questions with N paths each.
        column: the score that counts; questions that do not have it are left out.
        rules: name -> rule; `confidence` needs paths whose crops have been scored.
        ns: numbers of paths, 1 to N.
        max_subsets: most subsets of one question and n; 1 takes the first n paths.
        resamples: bootstrap draws of an interval.
        seed: of the draws and of the subsets.
        unanswered: videos of questions that could not be asked: they score 0 and count as abstentions.

    Returns:
        Points by rule and n, in the order given.

    Raises:
        DataError: no question has the column, or not all have the same number of paths.
        ConfigError: an n below 1 or above N.
    """
    records = [record for record in records if column in record.scores]
    sizes = {len(record.paths) for record in records}
    if len(sizes) != 1:
        found = f"found {sorted(sizes)}" if sizes else f"no question has the score {column!r}"
        raise DataError(f"votes by n need questions with one number of paths; {found}")
    n_paths = sizes.pop()
    if any(not 1 <= n <= n_paths for n in ns):
        raise ConfigError(f"ns={list(ns)}: allowed are 1 to {n_paths}, the number of paths of a question")
    subsets_of = {n: subsets(n_paths, n, max_subsets, seed) for n in ns}
    points = []
    for name, rule in rules.items():
        expected = [_expectations(record, record.scores[column], rule, subsets_of) for record in records]
        for n in ns:
            score, abstained = _score(records, [row[n] for row in expected], unanswered, resamples, seed)
            points.append(Point(name, n, score, abstained, *_cost(records, rule, n)))
    return points


def subsets(n_paths: int, n: int, at_most: int, seed: int) -> list[Subset]:
    """Subsets of n of the paths, each in order: all where there are no more than `at_most`, else some, drawn.

    `at_most` 1 gives the first n. Drawn ones may repeat: each is an independent draw.

    >>> subsets(3, 2, 10, 0), subsets(3, 2, 1, 0)
    ([(0, 1), (0, 2), (1, 2)], [(0, 1)])
    """
    if at_most == 1:
        return [tuple(range(n))]
    if math.comb(n_paths, n) <= at_most:
        return list(combinations(range(n_paths), n))
    rng = np.random.default_rng([seed, n])
    return [tuple(sorted(rng.choice(n_paths, n, replace=False).tolist())) for _ in range(at_most)]


def _expectations(
    record: VoteRecord, scores: Sequence[float], rule: Rule, subsets_of: Mapping[int, Sequence[Subset]]
) -> dict[int, tuple[float, float]]:
    """Expected score and share of abstentions of one question, by n."""
    table = supports(record.paths, rule.sigma_s) if rule.weights == "evidence" else []
    found = {}
    for n, chosen in subsets_of.items():
        votes = [_vote(record, rule, table, subset) for subset in chosen]
        found[n] = (
            math.fsum(0.0 if path is None else scores[path] for path in votes) / len(votes),
            sum(path is None for path in votes) / len(votes),
        )
    return found


def _vote(record: VoteRecord, rule: Rule, table: Sequence[Sequence[float]], chosen: Subset) -> int | None:
    """Index of the path that the vote of a subset believes."""
    if rule.weights == "evidence":
        weights = evidence_weights(record.paths, consistency(record.paths, table, chosen), chosen, rule)
    else:
        weights = local_weights(record.paths, chosen, rule)
    position = elect([record.paths[k].answer for k in chosen], weights, rule.ties).path
    return None if position is None else chosen[position]


def _score(
    records: Sequence[VoteRecord],
    expected: Sequence[tuple[float, float]],
    unanswered: Sequence[str],
    resamples: int,
    seed: int,
) -> tuple[Estimate, float]:
    """Mean score with its interval, and share of abstentions."""
    values = np.array([score for score, _ in expected] + [0.0] * len(unanswered))
    videos = [record.video for record in records] + list(unanswered)
    estimate = estimate_columns({"score": values}, videos, {}, resamples, seed)["score"]
    return estimate, (math.fsum(share for _, share in expected) + len(unanswered)) / len(values)


def _cost(records: Sequence[VoteRecord], rule: Rule, n: int) -> tuple[float, float, float]:
    """Generated tokens, calls of the scorer and crops of an answered question."""
    paths = [path for record in records for path in record.paths]
    drawn, asked = (1 if rule.weights == "none" else n), (n if rule.weights == "confidence" else 0)
    return (
        drawn * math.fsum(path.tokens for path in paths) / len(paths),
        asked * sum(path.crops > 0 for path in paths) / len(paths),
        asked * sum(path.crops for path in paths) / len(paths),
    )
