"""V-STaR's tables: columns of items, their means, and the numbers made of the means; overall, by length, by domain.

Names of columns (fractions; the judge's scores as they are):

    acc                       share with a judge's score of 2 or 3
    judge_score               mean score, an invalid one counting 0; judge_score_valid: mean of the valid ones
    chainC/tiou               mean temporal IoU, C = 1 (what, when, where) or 2 (what, where, when)
    chainC/R1@0.3, 0.5, 0.7   share of temporal IoUs that reach the limit
    chainC/viou               mean over items of the mean over annotated seconds
    chainC/AP@0.1 .. 0.9      mean share of annotated seconds that reach the limit
    chainC/what+when, what+where, when+where, what+when+where
                              share of items with a score >= 2, a temporal IoU >= 0.3, a vIoU >= 0.1
    parsed, coverage          share of answers that could be read, of questions that were answered
    chainC/AM, chainC/LGM, mAM, mLGM      made of acc, tiou and viou; LGM in nats, tables show it times 100

A group's columns carry its name behind an @: `mAM@length=Short`, `acc@domain=Sports`.

`definition=reference`: items without an answer in words leave every mean; only overall `acc` and joint shares keep
them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from o3v.benchmarks.metrics import arithmetic_mean, log_geometric_mean, mean_over_chains
from o3v.benchmarks.statistics import Columns, Derived
from o3v.benchmarks.vstar.items import AP_THRESHOLDS, ItemScores, valid_rating
from o3v.benchmarks.vstar.judge import CORRECT_FROM, INVALID, valid_score

R1_THRESHOLDS = (0.3, 0.5, 0.7)
JOINT_TIOU = 0.3
JOINT_VIOU = 0.1
CHAINS = (1, 2)

_IN_LGM = ("acc", *(f"chain{chain}/{name}" for chain in CHAINS for name in ("tiou", "viou")))

OVERALL = ""
"""Name of the group of all items."""

Formula = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Grouped:
    """An item's scores and the groups that it belongs to.

    Attributes:
        scores: of the item.
        groups: its length and its domain, such as `length=Short` and `domain=Sports`.
    """

    scores: ItemScores
    groups: tuple[str, str]


@dataclass(frozen=True)
class Table:
    """Numbers of one group.

    Attributes:
        values: column or derived number -> value.
        failure: why the released script stops at this group; None where it does not, and always in `corrected`.
    """

    values: Mapping[str, float]
    failure: str | None


def tables(items: Sequence[Grouped], definition: str) -> dict[str, Table]:
    """The table of each group, the overall one first, then lengths and domains as they first occur.

    The released script prints these in order and ends at the first failure; here the others follow all the same.
    """
    names = dict.fromkeys([item.groups[0] for item in items] + [item.groups[1] for item in items])
    found = {OVERALL: _table([item.scores for item in items], definition, False)}
    for name in names:
        found[name] = _table([item.scores for item in items if name in item.groups], definition, True)
    return found


def grouped_columns(items: Sequence[Grouped], definition: str) -> dict[str, np.ndarray]:
    """Name -> [N] values of the items, overall and for each group; nan where an item is not in the group."""
    scores = [item.scores for item in items]
    found = columns(scores, definition, False)
    inside = columns(scores, definition, True)
    for group in sorted({name for item in items for name in item.groups}):
        members = np.array([group in item.groups for item in items])
        found |= {f"{name}@{group}": np.where(members, values, np.nan) for name, values in inside.items()}
    return found


def columns(items: Sequence[ItemScores], definition: str, in_group: bool) -> dict[str, np.ndarray]:
    """Name -> [N] values of the items, nan where an item does not count; see the head of this file.

    Where no answer was judged, the columns that need a judge are missing.

    Args:
        items: in any order.
        definition: see the head of this file.
        in_group: the columns of a group, not the overall ones; they differ in `reference` only.
    """
    answered = np.array([item.answered for item in items], dtype=bool)
    dropped = definition == "reference"
    ratings = np.array([_rating(item, definition) for item in items], dtype=float)
    when, where = _array([item.tious for item in items], 2), _array([item.vious for item in items], 2)
    found: dict[str, np.ndarray] = {}
    if not answered.any() or any(item.rating is not None for item in items):
        found["acc"] = answered & (ratings >= CORRECT_FROM)
        found["judge_score"] = np.where(answered & (ratings != INVALID), ratings, 0.0)
        found["judge_score_valid"] = np.where(answered & (ratings != INVALID), ratings, np.nan)
    for chain in CHAINS:
        aps = _array([item.aps[chain - 1] for item in items], len(AP_THRESHOLDS))
        found |= _chain_columns(chain, found.get("acc"), when[:, chain - 1], where[:, chain - 1], aps)
    if dropped:
        found = {name: _without(name, values, answered, in_group) for name, values in found.items()}
    found["parsed"] = np.array([item.parsed for item in items], dtype=float)
    found["coverage"] = np.array([item.coverage for item in items], dtype=float)
    return {name: values.astype(float) for name, values in found.items()}


def derived(names: Collection[str], definition: str) -> Derived:
    """AM and LGM of each chain, mAM and mLGM, for all items and for each group whose columns are there.

    `reference` has no lower limit inside LGM's logarithm and cannot compute it for a perfect mean: nan.
    """
    lgm: Formula = _lgm_without_limit if definition == "reference" else log_geometric_mean
    found: dict[str, Callable[[Columns], np.ndarray]] = {}
    for name in names:
        stem, at, group = name.partition("@")
        if stem == "acc":
            for short, formula in (("AM", arithmetic_mean), ("LGM", lgm)):
                parts = [_of_chain(formula, chain, f"{at}{group}") for chain in CHAINS]
                found |= {f"chain{c}/{short}{at}{group}": part for c, part in zip(CHAINS, parts, strict=True)}
                found[f"m{short}{at}{group}"] = _over_chains(parts)
    return found


def _table(items: Sequence[ItemScores], definition: str, in_group: bool) -> Table:
    found = columns(items, definition, in_group)
    means = {name: _mean(values) for name, values in found.items()}
    if "judge_score_valid" in means and math.isnan(means["judge_score_valid"]):
        means["judge_score_valid"] = 0.0
    as_arrays = {name: np.array([value]) for name, value in means.items()}
    made = {name: float(make(as_arrays)[0]) for name, make in derived(means, definition).items()}
    failure = None
    if definition == "reference":
        empty = not (sum(item.answered for item in items) if in_group else len(items))
        perfect = any(means.get(name, 0.0) >= 1 for name in _IN_LGM)
        failure = "division by zero" if empty else "math domain error" if perfect else None
    return Table(means | made, failure)


def _rating(item: ItemScores, definition: str) -> int:
    return valid_rating(item) if definition == "reference" else valid_score(valid_rating(item))


def _chain_columns(
    chain: int, right: np.ndarray | None, tious: np.ndarray, vious: np.ndarray, aps: np.ndarray
) -> dict[str, np.ndarray]:
    when, where = tious >= JOINT_TIOU, vious >= JOINT_VIOU
    found = {"tiou": tious} | {f"R1@{limit}": tious >= limit for limit in R1_THRESHOLDS}
    found |= {"viou": vious} | {f"AP@{limit}": aps[:, k] for k, limit in enumerate(AP_THRESHOLDS)}
    if right is not None:
        found |= {"what+when": right & when, "what+where": right & where, "what+when+where": right & when & where}
    found["when+where"] = when & where
    return {f"chain{chain}/{name}": values for name, values in found.items()}


def _without(name: str, values: np.ndarray, answered: np.ndarray, in_group: bool) -> np.ndarray:
    """The released denominators: unanswered items stay (as wrong) only in overall accuracy and joint shares."""
    stays = not in_group and (name == "acc" or "+" in name)
    return values & answered if stays else np.where(answered, values, np.nan)


def _array(rows: Sequence[Sequence[float]], width: int) -> np.ndarray:
    return np.array(rows, dtype=float).reshape(len(rows), width)


def _mean(values: np.ndarray) -> float:
    there = values[~np.isnan(values)]
    return float(there.mean()) if len(there) else math.nan


def _of_chain(formula: Formula, chain: int, suffix: str) -> Callable[[Columns], np.ndarray]:
    def of(means: Columns) -> np.ndarray:
        return formula(means[f"acc{suffix}"], means[f"chain{chain}/tiou{suffix}"], means[f"chain{chain}/viou{suffix}"])

    return of


def _over_chains(parts: Sequence[Callable[[Columns], np.ndarray]]) -> Callable[[Columns], np.ndarray]:
    def of(means: Columns) -> np.ndarray:
        return mean_over_chains(parts[0](means), parts[1](means))

    return of


def _lgm_without_limit(acc: np.ndarray, m_tiou: np.ndarray, m_viou: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        total = -(np.log(1 - acc) + np.log(1 - m_tiou) + np.log(1 - m_viou)) / 3
    return np.where(np.isfinite(total), total, np.nan)
