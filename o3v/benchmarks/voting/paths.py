"""What a vote needs of a model's text: its answer, whether it has thought, and what it claims to have seen."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from o3v.grounding.parse import first_block
from o3v.types import Claim

_CLAIM = re.compile(r"<obj>(.*?)</obj><box>(\[.*?\])</box>at<t>(.*?)</t>s", re.DOTALL)

ReadAnswer = Callable[[str], str | None]
"""A whole text -> the answer that is counted (a letter, normalised words), None where there is none."""


@dataclass(frozen=True)
class Sight:
    """A claim as the scorer is shown it.

    Attributes:
        name: text between the obj tags, stripped.
        box: x1, y1, x2, y2 in the model's own units.
        time_s: cited time, rounded to 0.01 s.
    """

    name: str
    box: tuple[float, float, float, float]
    time_s: float


@dataclass(frozen=True)
class Path:
    """One sampled answer of a question.

    Attributes:
        answer: what is counted; None where the text has none.
        thought: whether it may carry weight: there is a think block, or the prompt asked for none.
        relevance: weight under confidence voting, see `scorer.relevance`; 1 where no thinking was asked for.
        crops: how many crops the scorer was shown.
        reply: the scorer's reply; None where it was not asked.
        claims: of its reasoning, boxes normalised; for consistency.
        tokens: length of the text, 0 where unknown.
        fault: why the released code stops at this path (`definition: reference`), else None.
    """

    answer: str | None
    thought: bool
    relevance: float
    crops: int
    reply: str | None
    claims: tuple[Claim, ...]
    tokens: int
    fault: str | None


def read_sights(thinking: str) -> tuple[Sight, ...]:
    """The claims of a reasoning that the scorer is shown: exactly one box each, in the order of the text.

    Numbers are read as Python does (`1e3`, ` 4 `, `1_0`), and may be infinite or, as a time, not a number: what that
    does is decided where the crop is cut. An element runs to the next closing tag of its kind, so that a claim that is
    not closed swallows the next one, as in the released parser (eval/tts.py:12).

    Example:
        >>> read_sights("<obj> cat </obj><box>[1,2,30,40]</box>at<t>3.456</t>s")
        (Sight(name='cat', box=(1.0, 2.0, 30.0, 40.0), time_s=3.46),)
    """
    read = ((name.strip(), read_box(box), _number(time)) for name, box, time in _CLAIM.findall(thinking))
    return tuple(Sight(name, box, round(time, 2)) for name, box, time in read if box is not None and time is not None)


def read_box(text: str) -> tuple[float, float, float, float] | None:
    """Four numbers with any brackets; None for another count, another text, or corners in the wrong order.

    >>> read_box("[[1,2,30,40]]"), read_box("[10,10,5,5]"), read_box("[5,5,5,5]"), read_box("[nan,1,2,3]")
    ((1.0, 2.0, 30.0, 40.0), None, (5.0, 5.0, 5.0, 5.0), None)
    """
    numbers = [_number(part) for part in text.replace("[", "").replace("]", "").split(",")]
    if len(numbers) != 4:
        return None
    x1, y1, x2, y2 = numbers
    if x1 is None or y1 is None or x2 is None or y2 is None:
        return None
    return (x1, y1, x2, y2) if x2 >= x1 and y2 >= y1 else None


def is_finite(sight: Sight) -> bool:
    """Whether all numbers of a claim are finite.

    >>> is_finite(Sight("a", (0.0, 0.0, 1.0, float("inf")), 1.0))
    False
    """
    return all(math.isfinite(value) for value in (*sight.box, sight.time_s))


def strict_letter(letters: Sequence[str]) -> ReadAnswer:
    """Reader of the letter that alone fills the first answer block, as the released scripts vote on it.

    Example:
        >>> read = strict_letter("ABCD")
        >>> read("<think>x</think><answer> C </answer>"), read("<answer>(C)</answer>"), read("C")
        ('C', None, None)
    """

    def read(text: str) -> str | None:
        answer = (first_block(text, "answer", 0) or "").strip()
        return answer if answer in letters and answer else None

    return read


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
