"""ROUGE-1, ROUGE-2 and ROUGE-L of two short texts, with the numbers of the `rouge_score` package and in its order.

C.-Y. Lin, "ROUGE: A Package for Automatic Evaluation of Summaries", 2004. A test compares with that package.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from o3v.rewards.stem import stem

_WORD = re.compile(r"[a-z0-9]+")


@dataclass(frozen=True)
class Rouge:
    """F-measures, 0 to 1.

    Attributes:
        one: of shared words.
        two: of shared pairs of neighbouring words.
        longest: of the longest common subsequence of words.
    """

    one: float
    two: float
    longest: float

    @property
    def mean(self) -> float:
        """Mean of the three."""
        return (self.one + self.two + self.longest) / 3


def rouge(reference: str, hypothesis: str) -> Rouge:
    """ROUGE of a text against a reference, words stemmed.

    >>> rouge("the red ball rolls", "the red balls")
    Rouge(one=0.8571428571428571, two=0.8, longest=0.8571428571428571)
    """
    expected, found = tokens(reference), tokens(hypothesis)
    return Rouge(
        _f_measure(_shared(expected, found), len(expected), len(found)),
        _f_measure(_shared(_pairs(expected), _pairs(found)), len(expected) - 1, len(found) - 1),
        _f_measure(longest_common(expected, found), len(expected), len(found)),
    )


@functools.lru_cache(maxsize=4096)
def tokens(text: str) -> tuple[str, ...]:
    """Stemmed words of Latin letters and digits in lower case; words of up to three letters are kept.

    >>> tokens("Two red balls, rolling!")
    ('two', 'red', 'ball', 'roll')
    """
    return tuple(stem(word) if len(word) > 3 else word for word in _WORD.findall(text.lower()))


def longest_common(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence, one machine word operation for many cells (Hyyrö, 2004).

    >>> longest_common("abcbdab", "bdcaba")
    4
    """
    places: dict[str, int] = {}
    for index, word in enumerate(a):
        places[word] = places.get(word, 0) | 1 << index
    full = (1 << len(a)) - 1
    row = full
    for word in b:
        hits = row & places.get(word, 0)
        row = ((row + hits) | (row - hits)) & full
    return len(a) - row.bit_count()


def _pairs(words: Sequence[str]) -> list[tuple[str, str]]:
    return list(pairwise(words))


def _shared(a: Sequence[object], b: Sequence[object]) -> int:
    return (Counter(a) & Counter(b)).total()


def _f_measure(shared: int, expected: int, found: int) -> float:
    if shared <= 0:
        return 0.0
    precision, recall = shared / found, shared / expected
    return 2 * precision * recall / (precision + recall)
