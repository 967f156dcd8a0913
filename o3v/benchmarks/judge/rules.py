"""A judge without a model: equal words, then ROUGE-L. For small machines and tests; no substitute for a model."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from o3v.benchmarks.question import ToJudge
from o3v.errors import ConfigError
from o3v.rewards.rouge import rouge

_ARTICLES = frozenset({"a", "an", "the"})


@dataclass(frozen=True)
class RulesJudge:
    """Grades by shared words on a scale from 0 to `len(levels)`.

    Attributes:
        levels: ascending ROUGE-L F-measures from which an answer gets 1, 2, ...; equal words get the highest grade.
    """

    levels: Sequence[float]

    def __post_init__(self) -> None:
        """Reject levels that do not ascend within 0 to 1."""
        levels = list(self.levels)
        if not levels or levels != sorted(set(levels)) or not 0 < levels[0] <= levels[-1] <= 1:
            raise ConfigError(f"judge.levels={levels}: wanted ascending numbers above 0, at most 1")

    @property
    def name(self) -> str:
        """`rules` and its levels."""
        return f"rules {list(self.levels)}"

    def replies(self, asked: Sequence[ToJudge]) -> Iterator[tuple[int, str]]:
        """A whole number as text for each request, in order."""
        for position, request in enumerate(asked):
            yield position, str(self.grade(request.truth, request.answer))

    def grade(self, truth: str, answer: str) -> int:
        """Grade of an answer.

        >>> judge = RulesJudge([0.2, 0.5, 1.0])
        >>> [judge.grade("A red ball.", answer) for answer in ("red ball", "a ball", "cat")]
        [3, 2, 0]
        """
        if normal_words(truth) == normal_words(answer):
            return len(self.levels)
        found = rouge(" ".join(normal_words(truth)), " ".join(normal_words(answer))).longest
        return sum(found >= level for level in self.levels)


def normal_words(text: str) -> list[str]:
    """Lower-case words of any script, without tags, punctuation and articles.

    >>> normal_words("The <obj>Red</obj> ball!")
    ['red', 'ball']
    """
    words = re.findall(r"\w+", re.sub(r"</?\w+>", " ", text).lower())
    return [word for word in words if word not in _ARTICLES]
