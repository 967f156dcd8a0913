"""How the released V-STaR scripts read answers, defects included: `definition=reference`.

The rules are those of Open-o3 Video's eval/test/test_vstar_multi_images.py (E6-E8 of docs/deviations.md); nothing here
raises, where the scripts do the answer counts as not read.
"""

from __future__ import annotations

import json
import re
from typing import Any

_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_CLOCK = re.compile(r"\d+:\d+")
_NUMBER = re.compile(r"\b\d+(?:\.\d+)?\b")
_FENCE = re.compile(r"```json\s*\n(\[.*?\]|\{.*?\})\s*\n```", re.DOTALL)


def first_answer(text: str) -> str:
    """Content of the first answer block wherever it stands, stripped; without one the whole text.

    >>> first_answer("<think>a</think><answer> b </answer>"), first_answer("<answer>b")
    ('b', '<answer>b')
    """
    found = _ANSWER.search(text)
    return found.group(1).strip() if found else text


def reference_times(text: str) -> list[float]:
    """The two numbers of an answer that holds exactly two; else nothing.

    Times of day become seconds first, one after the other and wherever their text occurs, so that `1:05` also hits
    inside `11:05`. A number with a unit behind it (`8s`) is no number, and of `3.0s` only the 3 is.

    >>> reference_times("From 3.0s to 8.5s"), reference_times("1:05 to 2:10"), reference_times("3 to 8, 2 of 5")
    ([3.0, 8.0], [65.0, 130.0], [])
    """
    answer = first_answer(text)
    try:
        for clock in _CLOCK.findall(answer):
            minutes, seconds = (int(part) for part in clock.split(":"))
            answer = answer.replace(clock, f"<t>{minutes * 60 + seconds}</t>s")
    except ValueError:  # thousands of digits
        return []
    numbers = _NUMBER.findall(answer)
    return [float(number) for number in numbers] if len(numbers) == 2 else []


def reference_boxes(text: str) -> Any:
    """The JSON object, list or None that is read from an answer, numbers as written.

    >>> reference_boxes('{"3": [1, 2, 3, 4]}'), reference_boxes('{"3": [1, 2, 3, 4]')
    ({'3': [1, 2, 3, 4]}, [1, 2, 3, 4])
    >>> reference_boxes("[[1, 2, 3, 4], [5, 6, 7, 8]]")
    {'1': 2, '5': 6}
    """
    found = _json_text(first_answer(text))
    if found is None:
        return None
    found = found.replace("'", '"')
    try:
        return _flattened(json.loads(found))
    except (ValueError, LookupError, TypeError, RecursionError):
        return _loaded(complete_brackets(found))


def complete_brackets(text: str) -> str:
    """Adds as many brackets as the counts differ by: closing ones behind, opening ones in front, square ones first.

    >>> complete_brackets('{"1":[1,2'), complete_brackets("1,2]}")
    ('{"1":[1,2]}', '{[1,2]}')
    """
    for opening, closing in ("[]", "{}"):
        missing = text.count(opening) - text.count(closing)
        text = opening * -missing + text + closing * missing
    return text


def _json_text(answer: str) -> str | None:
    """From the first opening bracket that has its like behind it to the last of these, or the fenced block."""
    fenced = _FENCE.search(answer)
    if fenced:
        return fenced.group(1).strip()
    pairs = [(answer.find(opening), answer.rfind(closing)) for opening, closing in ("[]", "{}")]
    spans = [(start, end) for start, end in pairs if 0 <= start < end]
    return answer[min(spans)[0] : min(spans)[1] + 1] if spans else None


def _flattened(value: Any) -> dict[str, Any]:
    """A list of objects as one object, a list of others by its elements' first two parts."""
    if not isinstance(value, list):
        return dict(value)
    if all(isinstance(entry, dict) for entry in value):
        return {key: box for entry in value for key, box in entry.items()}
    return {str(entry[0]): entry[1] for entry in value}


def _loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
