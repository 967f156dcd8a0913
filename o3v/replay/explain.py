"""One completion taken apart: its claims, how each was judged, and what every term paid and why."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from o3v.errors import DataError
from o3v.grounding.parse import FoundClaim, find_claims, find_fragments
from o3v.replay.format import RolloutGroup
from o3v.rewards.mix import RewardMix
from o3v.rewards.reasons import reasons, verdicts
from o3v.rewards.thinking import ClaimVerdict
from o3v.types import Completion, Sample


@dataclass(frozen=True)
class Payment:
    """One term of the total.

    Attributes:
        term: its name.
        applies: to the sample's task; a term that does not pays 0 and gives no reasons.
        value: 0 to 1, NaN where it is undefined for lack of an annotation (which pays 0).
        weight: in the total.
        reasons: sentences that lead to the value.
    """

    term: str
    applies: bool
    value: float
    weight: float
    reasons: tuple[str, ...]

    @property
    def paid(self) -> float:
        """What it adds to the total."""
        return 0.0 if math.isnan(self.value) else self.weight * self.value


@dataclass(frozen=True)
class Explanation:
    """Why a completion earns what it earns.

    Attributes:
        id, index: group and place in it.
        sample: what was asked.
        completion: the parsed text.
        think_start: where the content of the think block begins in the text, 0 without one.
        found: places of the think block that are claims, would be claims, or are torn pieces of one, in order.
        verdicts: how the mix's spatial term judges the claims that it reads.
        payments: one a term, in the mix's order.
    """

    id: str
    index: int
    sample: Sample
    completion: Completion
    think_start: int
    found: tuple[FoundClaim, ...]
    verdicts: tuple[ClaimVerdict, ...]
    payments: tuple[Payment, ...]

    @property
    def total(self) -> float:
        """Weighted sum of the terms."""
        return sum(payment.paid for payment in self.payments)


def explain(mix: RewardMix, group: RolloutGroup, index: int, progress: float) -> Explanation:
    """Take one completion of a group apart; every number comes from the term itself.

    Args:
        mix: the reward.
        group: a line of a rollout file.
        index: which completion, from 0.
        progress: share of the training done.
    """
    sample, completion = group.samples[index], group.completions[index]
    think = completion.think or ""
    found = sorted((*find_claims(think, completion.box_scale), *find_fragments(think)), key=lambda one: one.start)
    judged = next(filter(None, (verdicts(term, completion, sample) for term in mix.terms.values())), ())
    return Explanation(
        id=group.id,
        index=index,
        sample=sample,
        completion=completion,
        think_start=completion.text.find("<think>") + len("<think>") if completion.think is not None else 0,
        found=tuple(found),
        verdicts=judged,
        payments=tuple(_payments(mix, completion, sample, progress)),
    )


def choose(groups: Iterable[tuple[RolloutGroup, float]], wanted: str) -> tuple[RolloutGroup, tuple[int, ...], float]:
    """The group that `ID` or `ID/INDEX` names, which of its completions, and its progress of training.

    Raises:
        DataError: there is none; names some that exist.
    """
    head, _, tail = wanted.rpartition("/")
    seen: list[str] = []
    for group, progress in groups:
        everything = tuple(range(len(group.texts)))
        if group.id == wanted:
            return group, everything, progress
        if group.id == head and tail.isdecimal() and int(tail) in everything:
            return group, (int(tail),), progress
        seen.append(group.id)
    raise DataError(f"explain={wanted}: no such id among {len(seen)}; for example {', '.join(seen[:3]) or 'none'}")


def _payments(mix: RewardMix, completion: Completion, sample: Sample, progress: float) -> Iterator[Payment]:
    for name, term in mix.terms.items():
        applies = sample.task in term.tasks
        value = term(completion, sample, progress) if applies else 0.0
        why = reasons(term, completion, sample, progress) if applies else ()
        yield Payment(name, applies, value, mix.weights[name], why)
