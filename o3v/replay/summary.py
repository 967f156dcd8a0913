"""What a reward pays over many groups, and where two rewards part."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from o3v.replay.format import RolloutGroup
from o3v.replay.ranks import advantages, is_flat, spearman
from o3v.replay.score import Scores, is_share


@dataclass
class Column:
    """One term, or the total, over the groups that it applies to.

    Attributes:
        values: of all completions.
        group_spread: standard deviation inside each group of at least two completions.
        flat: how many of those groups have equal values, and so teach nothing.
    """

    values: list[float] = field(default_factory=list)
    group_spread: list[float] = field(default_factory=list)
    flat: int = 0

    def add(self, values: Sequence[float]) -> None:
        """One more group."""
        self.values += values
        if len(values) > 1:
            self.group_spread.append(float(np.std(values)))
            self.flat += is_flat(values)

    def summary(self) -> dict[str, float | int | None]:
        """`mean`, `spread` over all completions, `group_spread` (mean over groups), `flat_groups` (share), counts."""
        return {
            "completions": len(self.values),
            "groups": len(self.group_spread),
            "mean": _mean(self.values),
            "spread": float(np.std(self.values)) if self.values else None,
            "group_spread": _mean(self.group_spread),
            "flat_groups": self.flat / len(self.group_spread) if self.group_spread else None,
        }


@dataclass
class RewardSummary:
    """One reward mix over a file: `add` groups, then `summary`.

    Attributes:
        columns: term -> its column; groups to whose task a term does not apply are left out.
        total: of the weighted sums, over all groups.
    """

    columns: dict[str, Column] = field(default_factory=dict)
    total: Column = field(default_factory=Column)
    claims: int = 0
    open_claims: int = 0
    undefined: int = 0
    raised: int = 0

    def add(self, scores: Scores) -> None:
        """One more group; values that are no numbers count 0."""
        for name, row in scores.terms.items():
            column = self.columns.setdefault(name, Column())
            if scores.applies[name] and row is not None:
                column.add([value if is_share(value) else 0.0 for value in row])
        self.total.add(scores.totals)
        self.claims += scores.claims
        self.open_claims += scores.open_claims
        self.undefined += scores.undefined
        self.raised += len(scores.raised)

    def summary(self) -> dict[str, Any]:
        """Terms and total with their figures; `gate_open`: share of the judged claims that pass the temporal gate."""
        return {
            "terms": {name: column.summary() for name, column in self.columns.items()},
            "total": self.total.summary(),
            "claims": self.claims,
            "gate_open": self.open_claims / self.claims if self.claims else None,
            "undefined": self.undefined,
            "not_computable_calls": self.raised,
        }


@dataclass(frozen=True, order=True)
class Disagreement:
    """A completion that two rewards judge differently.

    Attributes:
        gap: difference of its advantages, what a policy step would feel.
        total_gap: difference of its totals, which decides between equal gaps.
        id, index: group and place in it.
        totals: under the first and the second reward.
        advantages: under the first and the second reward.
        text: the completion.
    """

    gap: float
    total_gap: float
    id: str
    index: int
    totals: tuple[float, float]
    advantages: tuple[float, float]
    text: str

    def line(self) -> dict[str, Any]:
        """As an object of the summary file."""
        (total, total_b), (advantage, advantage_b) = self.totals, self.advantages
        both = {"total": total, "total_b": total_b, "advantage": advantage, "advantage_b": advantage_b}
        return {"id": self.id, "index": self.index, "gap": self.gap, **both, "text": self.text}


@dataclass
class Comparison:
    """Two rewards over the same groups: `add` groups, then `summary`.

    Attributes:
        shown: how many completions to keep on which the two disagree most.
    """

    shown: int
    totals: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))
    correlations: list[float] = field(default_factory=list)
    groups: int = 0
    worst: list[Disagreement] = field(default_factory=list)

    def add(self, group: RolloutGroup, a: Scores, b: Scores) -> None:
        """One more group under both rewards."""
        self.totals[0].extend(a.totals)
        self.totals[1].extend(b.totals)
        if len(a.totals) > 1:
            self.groups += 1
            correlation = spearman(a.totals, b.totals)
            self.correlations += [] if math.isnan(correlation) else [correlation]
        self.worst = heapq.nlargest(self.shown, [*self.worst, *_disagreements(group, a, b)])

    def summary(self) -> dict[str, Any]:
        """Spearman's correlation over all completions and inside groups, and where the two disagree most."""
        overall = spearman(*self.totals)
        return {
            "spearman_overall": None if math.isnan(overall) else overall,
            "spearman_in_groups": _mean(self.correlations),
            "groups_compared": len(self.correlations),
            "groups_without_order": self.groups - len(self.correlations),
            "disagreements": [one.line() for one in self.worst],
        }


def _disagreements(group: RolloutGroup, a: Scores, b: Scores) -> list[Disagreement]:
    if a.totals == b.totals:
        return []
    first, second = advantages(a.totals), advantages(b.totals)
    return [
        Disagreement(
            gap=float(abs(first[g] - second[g])),
            total_gap=abs(a.totals[g] - b.totals[g]),
            id=group.id,
            index=g,
            totals=(a.totals[g], b.totals[g]),
            advantages=(float(first[g]), float(second[g])),
            text=text or "",
        )
        for g, text in enumerate(group.texts)
    ]


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def flattened(summary: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Rows of the table of terms, the total last.

    >>> [name for name, _ in flattened({"terms": {"format": {}}, "total": {}})]
    ['format', 'total']
    """
    return [*summary["terms"].items(), ("total", summary["total"])]
