"""One walk over a file of rollouts under one or two rewards: lines to write, and a summary at its end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from o3v.errors import ConfigError
from o3v.replay.format import RolloutGroup
from o3v.replay.score import score_group
from o3v.replay.summary import Comparison, RewardSummary
from o3v.rewards.mix import RewardMix

NAMES = ("reward", "reward_b")


class Replay:
    """Scores groups as they come; memory grows with the numbers only, not with the texts.

    Args:
        mixes: one reward, or two to compare.
        shown: completions to keep on which the two disagree most.
    """

    def __init__(self, mixes: Sequence[RewardMix], shown: int) -> None:
        if not 1 <= len(mixes) <= len(NAMES):
            raise ConfigError(f"one or two rewards can be replayed, not {len(mixes)}")
        if shown < 0:
            raise ConfigError(f"shown={shown} must be 0 or more")
        self._mixes = tuple(mixes)
        self._summaries = tuple(RewardSummary() for _ in mixes)
        self._comparison = Comparison(shown)
        self._groups = 0

    def lines(self, groups: Iterable[tuple[RolloutGroup, float]]) -> Iterator[dict[str, Any]]:
        """One object a group: `id`, `reward` and `total`; with two rewards `reward_b` and `total_b` too.

        `raises` names the terms that the released code could not have computed.

        Args:
            groups: with the progress of training of each.
        """
        for group, progress in groups:
            scores = [score_group(mix, group, progress) for mix in self._mixes]
            for summary, one in zip(self._summaries, scores, strict=True):
                summary.add(one)
            if len(scores) == len(NAMES):
                self._comparison.add(group, *scores)
            self._groups += 1
            line = {"id": group.id, **scores[0].line()}
            if len(scores) == len(NAMES):
                line |= {f"{name}_b": value for name, value in scores[1].line().items()}
            raised = {name: dict(one.raised) for name, one in zip(NAMES, scores, strict=False) if one.raised}
            yield line | ({"raises": raised} if raised else {})

    def summary(self) -> dict[str, Any]:
        """Figures of each reward and, for two, of their comparison."""
        found: dict[str, Any] = {"groups": self._groups, "completions": len(self._summaries[0].total.values)}
        found |= {name: summary.summary() for name, summary in zip(NAMES, self._summaries, strict=False)}
        return found | ({"comparison": self._comparison.summary()} if len(self._mixes) == len(NAMES) else {})
