"""VideoMMMU's open answers: numbers and words that an answer gives, against the annotated ones.

The arithmetic is the released one (eval/dataloader/videommmu.py, after MMMU): the answer is cut at the words that
introduce a result, numbers in what remains are read and rounded to 0.01, and it is right when a number is equal or an
annotated text occurs in it. `reference` applies it to the whole text, reasoning included; `corrected` to the answer
block alone.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from typing import Final

from o3v.benchmarks.mcq.letters import API_ERROR, answer_text

Part = float | str
"""A number, rounded to 0.01, or a text in lower case."""

_KEYS = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")
_TRIVIAL = frozenset([":", ",", ".", "!", "?", ";", "'"])
_NUMBERS: Final = (
    re.compile(r"-?\b\d{1,3}(?:,\d{3})+\b"),
    re.compile(r"-?(?<!\d)\d+(?:\.\d+)?[eE][+-]?\d+"),
    re.compile(r"-?(?:(?<!\d)\d+\.\d+|\.\d+|(?<!\d)\d+\b)(?![eE][+-]?\d+)(?![,\d])"),
)
"""With thousands' commas, with an exponent, plain. The look-behinds change no match; they keep long runs linear."""


def read_parts(text: str) -> tuple[Part, ...]:
    """What an answer may mean: its results and the numbers in them, each once; numbers first, sorted as texts.

    A line counts from the last of the introducing words ("so", "is", "answer", ...; in the last line "=" too) that
    leaves the least; a text without any such line counts as a whole. A single character stands with a blank beside it,
    so that it does not occur in every word.

    Example:
        >>> read_parts("x = 3. The total is 1,200."), read_parts("Answer:5"), read_parts("..")
        ((1200.0, 200.0), (5.0, 'answer:5'), ('',))
    """
    results = _results(text.strip().strip(".").lower())
    found = [part for result in [*results, *(n for r in results for n in _numbers(r))] for part in normalise(result)]
    return tuple(sorted(set(found), key=lambda part: (isinstance(part, str), str(part))))


def normalise(text: str) -> tuple[Part, ...]:
    """A number rounded to 0.01, or the text in lower case; a single character becomes two texts with a blank.

    >>> normalise("12.504"), normalise(" Paris"), normalise("x")
    ((12.5,), ('paris',), (' x', 'x '))
    """
    text = text.strip()
    try:
        return (round(float(text.replace(",", "")), 2),)
    except ValueError:
        text = text.lower()
        return (f" {text}", f"{text} ") if len(text) == 1 else (text,)


def gold_answers(annotated: str | Sequence[str]) -> tuple[str, ...]:
    """The annotated answers; a text that is a list is taken apart, also where a quote is missing (one row has that).

    >>> gold_answers("5"), gold_answers("['24/7', '3.429', '3.43]"), gold_answers(["a", "b"])
    (('5',), ('24/7', '3.429', '3.43'), ('a', 'b'))
    """
    if not isinstance(annotated, str):
        return tuple(annotated)
    text = annotated.strip()
    if not (text.startswith("[") and text.endswith("]")):
        return (annotated,)
    try:
        read = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        read = [part.strip().strip("'\"") for part in text[1:-1].split(",")]
    return tuple(str(part) for part in read)


def is_right(text: str, annotated: str | Sequence[str]) -> bool:
    """Whether an open answer is right: its answer block names one of the annotated answers.

    Differs from the reference: reasoning does not count (defect B4), an empty answer is wrong whatever is annotated, an
    annotated list written as a text is a list.

    Example:
        >>> is_right("<think>5? no</think><answer>The result is 7</answer>", "5")
        False
        >>> is_right("<answer>x = 5</answer>", ["5", "five"]), is_right("<answer>x = 5 cm", ["5", "five"])
        (True, True)
    """
    answer = answer_text(text)
    if answer.strip() in ("", API_ERROR):
        return False
    return _any_equal(read_parts(answer), gold_answers(annotated))


def released_is_right(text: str, annotated: str | Sequence[str]) -> bool:
    """The released verdict on a whole text: reasoning counts, an annotated text is never a list.

    An empty answer is compared letter by letter of the words "API Error", as the released code does.

    Example:
        >>> released_is_right("<think>so it is 5</think><answer>7</answer>", "5"), released_is_right("", "")
        (True, True)
    """
    parts: Sequence[Part] = tuple(API_ERROR) if text in ("", API_ERROR) else read_parts(text)
    return _any_equal(parts, (annotated,) if isinstance(annotated, str) else tuple(annotated))


def _any_equal(parts: Sequence[Part], golds: Sequence[str]) -> bool:
    norms = [norm for gold in golds for norm in normalise(gold)]
    texts = [norm for norm in norms if isinstance(norm, str)]
    return any(part in norms if isinstance(part, float) else any(text in part for text in texts) for part in parts)


def _results(text: str) -> list[str]:
    lines = text.split("\n")
    found = [_result(line, (*_KEYS, "=") if index == len(lines) - 1 else _KEYS) for index, line in enumerate(lines)]
    return [result for result in found if result and result not in _TRIVIAL] or [text]


def _result(line: str, keys: Sequence[str]) -> str:
    """What stands behind the last of a key word, for the key word that leaves the least, but something."""
    shortest = ""
    for key in keys:
        if key in line:
            behind = line.rsplit(key, 1)[-1].strip()
            if not shortest or len(behind) < len(shortest):
                shortest = behind
    return shortest


def _numbers(text: str) -> list[str]:
    return [number for pattern in _NUMBERS for number in pattern.findall(text)]
