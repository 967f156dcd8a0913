"""The mix: terms times weights, for the completions of one prompt."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

from o3v.errors import ConfigError
from o3v.types import Completion, RewardTable, Sample, Task


class RewardTerm(Protocol):
    """One reward: a number in [0, 1] for any completion, NaN where it is undefined for lack of an annotation."""

    @property
    def tasks(self) -> frozenset[Task]:
        """Tasks that the term applies to."""
        ...

    def __call__(self, completion: Completion, sample: Sample, progress: float) -> float:
        """The reward; `progress` is the share of training steps done, 0 to 1."""
        ...


@runtime_checkable
class HasDiagnostics(Protocol):
    """A term with more to log than its value."""

    def diagnostics(self, completion: Completion, sample: Sample, progress: float) -> Mapping[str, float]:
        """Extra columns: the same names for every completion, finite values."""
        ...


@dataclass(frozen=True)
class RewardMix:
    """Weighted sum of reward terms: r(x, y) = sum_k w_k r_k(x, y).

    The paper adds its terms with weight 1 (Open-o3 Video, arXiv:2510.20579, eq. 1).

    Attributes:
        terms: name -> term; their order is the order of the table's columns.
        weights: name -> weight; the same names. A term of weight 0 is computed and logged, and counts nothing.

    Raises:
        ConfigError: the names differ, or a weight is not a finite number.
    """

    terms: Mapping[str, RewardTerm]
    weights: Mapping[str, float]

    def __post_init__(self) -> None:
        if set(self.terms) != set(self.weights):
            extra, missing = set(self.weights) - set(self.terms), set(self.terms) - set(self.weights)
            raise ConfigError(
                f"reward.weights must name the terms {sorted(self.terms)}: "
                f"unknown {sorted(extra)}, missing {sorted(missing)}"
            )
        bad = {name: weight for name, weight in self.weights.items() if not math.isfinite(weight)}
        if bad:
            raise ConfigError(f"reward.weights must be finite numbers, got {bad}")

    def __call__(self, completions: Sequence[Completion], sample: Sample, progress: float) -> RewardTable:
        """Rewards of the G completions of one sample.

        Args:
            completions: G parsed texts.
            sample: what they answer.
            progress: share of the training steps done, 0 to 1.

        Returns:
            A table [G, K] with totals. A term that does not apply counts 0, one that is undefined (NaN) too. The
            diagnostics hold `parse_ok` (1 with a think and an answer block), `claims` and `times` (how many the think
            block has), `undefined` (how many terms were NaN), and those of the terms, `gate_open` among them.
        """
        applies = tuple(sample.task in term.tasks for term in self.terms.values())
        raw = [self._row(completion, sample, progress) for completion in completions]
        values = tuple(tuple(0.0 if math.isnan(v) else v for v in row) for row in raw)
        weights = tuple(self.weights[name] for name in self.terms)
        totals = tuple(sum(w * v for w, v in zip(weights, row, strict=True)) for row in values)
        pairs = zip(completions, raw, strict=True)
        columns = [_diagnostics(self._telling, done, row, sample, progress) for done, row in pairs]
        names = columns[0] if columns else {}
        diagnostics = {name: tuple(column[name] for column in columns) for name in names}
        return RewardTable(tuple(self.terms), values, applies, totals, diagnostics, weights)

    @cached_property
    def _telling(self) -> tuple[HasDiagnostics, ...]:
        """Terms with diagnostics; asking a protocol costs more than most terms."""
        return tuple(term for term in self.terms.values() if isinstance(term, HasDiagnostics))

    def max_total(self, task: Task) -> float:
        """The largest total that a completion of this task can reach (each term at most 1).

        With the paper's terms: 4 temporal-spatial and temporal MCQ, 3 temporal and visual QA, 2 general tasks.
        """
        return sum(max(self.weights[name], 0.0) for name, term in self.terms.items() if task in term.tasks)

    def _row(self, completion: Completion, sample: Sample, progress: float) -> tuple[float, ...]:
        terms = self.terms.values()
        return tuple(term(completion, sample, progress) if sample.task in term.tasks else 0.0 for term in terms)


def _diagnostics(
    terms: Sequence[HasDiagnostics], completion: Completion, row: Sequence[float], sample: Sample, progress: float
) -> dict[str, float]:
    columns = {
        "parse_ok": float(completion.think is not None and completion.answer is not None),
        "claims": float(len(completion.claims)),
        "times": float(len(completion.think_times_s)),
        "undefined": float(sum(map(math.isnan, row))),
    }
    for term in terms:
        columns.update(term.diagnostics(completion, sample, progress))
    return columns
