"""V-STaR's judge: what it is asked about an answer in words, and how its reply is read.

Prompt and scale are the benchmark's own (V-STaR, arXiv:2503.11495, supplement; Open-o3 Video, eval_vstar.py).
"""

from __future__ import annotations

import re

from o3v.benchmarks.vstar.parsers import answer_of
from o3v.benchmarks.vstar.reference_parsers import first_answer

CORRECT_FROM = 2
"""A score from here on counts as a right answer (V-STaR's code; its paper says "above 2")."""

MAX_SCORE = 3
INVALID = -1
"""A reply without a score, or with one out of range; counts as 0."""

SYSTEM = """
As an AI assistant, your task is to evaluate a candidate answer in comparison to a given correct answer.
The question itself, the correct 'groundtruth' answer, and the candidate answer will be provided to you.
Your assessment should range from 0 to 3, based solely on the semantic similarity between the groundtruth and the \
candidate answer, disregarding any grammatical differences.
A rating of 0 suggests no similarity, implying the candidate answer is entirely incorrect.
A rating of 1 suggests low similarity, meaning the candidate answer is largely incorrect.
A rating of 2 suggests high similarity, meaning the candidate answer is largely correct.
Lastly, a rating of 3 indicates complete similarity, which means the candidate answer is entirely correct.
Your response should be a single integer from 0, 1, 2, or 3.
"""

_NUMBER = re.compile(r"[+-]?\d+(?:[._]\d+)*")


def messages(question: str, truth: str, candidate: str) -> tuple[dict[str, str], ...]:
    r"""The chat that the judge is sent.

    >>> messages("Who?", "a man", "a boy")[1]["content"]
    'Question: Who?\nGroundtruth answer: a man\nCandidate answer: a boy\nYour response: '
    """
    user = f"Question: {question}\nGroundtruth answer: {truth}\nCandidate answer: {candidate}\nYour response: "
    return {"role": "system", "content": SYSTEM}, {"role": "user", "content": user}


def candidate(text: str, definition: str) -> str:
    """The words of an answer that the judge sees; "" where the text answers nothing.

    Differs from the reference: reasoning never counts as the answer, also where the text was cut before or behind the
    answer's tags (E13: there the whole text is judged).

    >>> candidate("<think>a man? no</think><answer>a boy", "corrected"), candidate("<think>a man", "corrected")
    ('a boy', '')
    """
    if definition == "reference":
        return first_answer(text)
    answer = answer_of(text)
    return answer if answer is not None else text.rpartition("</think>")[2].strip() if "</think>" in text else ""


def parse_score(reply: str | None, definition: str) -> int:
    """The score in a judge's reply: the only number in it, if that is 0, 1, 2 or 3.

    Args:
        reply: of the judge.
        definition: `reference` takes what Python's int() takes, of any size, and nothing else.

    Returns:
        `INVALID` where there is none. Differs from the reference: words around the score do not spoil it
        (judge-reply-with-extra-text-invalid), numbers out of range are no score (judge-score-out-of-range).

    Example:
        >>> [parse_score(reply, "corrected") for reply in ("2", "Score: 2.", "**3**", "10", "2 or 3")]
        [2, 2, 3, -1, -1]
    """
    text = reply or ""
    try:
        score = int(text)
    except ValueError:
        found = _NUMBER.findall(text)
        score = _whole(found[0]) if len(found) == 1 and definition != "reference" else INVALID
    return score if definition == "reference" else valid_score(score)


def valid_score(score: int) -> int:
    """A score, or `INVALID` for a number that is none.

    >>> valid_score(3), valid_score(5), valid_score(-3)
    (3, -1, -1)
    """
    return score if 0 <= score <= MAX_SCORE else INVALID


def _whole(number: str) -> int:
    """`3` and `3.0` are whole, `2.5`, `1_0` and numbers of more digits than a score has are none."""
    found = re.fullmatch(r"\+?0*(\d)(?:\.0+)?", number)
    return int(found.group(1)) if found else INVALID
