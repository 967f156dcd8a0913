"""How often a model was right on each sample, from saved rollouts; the mix reads it as difficulty."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from o3v.errors import ConfigError
from o3v.replay.format import RolloutGroup
from o3v.replay.score import is_share, score_group
from o3v.rewards.mix import RewardMix


def pass_rates(
    groups: Iterable[tuple[RolloutGroup, float]], mix: RewardMix, terms: Sequence[str], threshold: float
) -> dict[str, float]:
    """Share of each sample's completions that were right, over all lines of the sample.

    A completion is right where every one of `terms` that applies to its task pays at least `threshold`; one that could
    not be computed pays nothing. Samples to whose task no term applies are left out.

    Args:
        groups: lines of a file, each with its progress of training.
        mix: has the terms.
        terms: names of those that judge the answer.
        threshold: what each must pay.

    Returns:
        Sample id -> share, 0 to 1, in order of ids.

    Raises:
        ConfigError: a term that the mix does not have.
    """
    for name in terms:
        if name not in mix.terms:
            raise ConfigError(f"terms: {name!r} is no term of the reward; it has {', '.join(mix.terms)}")
    right: dict[str, list[bool]] = {}
    for group, progress in groups:
        scored = score_group(mix, group, progress).terms
        for number, sample in enumerate(group.samples):
            applying = [name for name in terms if sample.task in mix.terms[name].tasks]
            values = [row[number] if (row := scored[name]) is not None else 0.0 for name in applying]
            if values:
                right.setdefault(sample.id, []).append(all(is_share(v) and v >= threshold for v in values))
    return {sample_id: sum(found) / len(found) for sample_id, found in sorted(right.items())}
