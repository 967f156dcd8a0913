"""Reads V-STaR answers: any text in, times or boxes out, never an exception. `definition=corrected`.

Differs from the reference, each under the slug of docs/deviations.md: a number may carry its unit
(number-glued-to-unit), h:mm:ss and fractions are read (hhmmss-split-into-two-numbers, mmss-fraction-lost,
mmss-replace-overlap), a pair of `<t>` tags wins over other numbers (extra-number-discards-answer), boxes are converted
from the model's units to the video's pixels (boxes-never-denormalised), and JSON is found behind prose, before a second
object and in a text that was cut (prose-bracket-before-json, two-json-objects-lost, truncated-json-lost,
list-of-boxes-misread-as-pairs).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from o3v.benchmarks.vstar.reference_parsers import reference_boxes
from o3v.grounding.parse import find_answer
from o3v.types import BoxScale

BoxList = list[float] | list[list[float]]
"""The box of a second, or several of them."""

_TIME = r"\d++(?::\d++){0,2}+(?:\.\d++)?+"
_UNIT = r"(?:s|secs?|seconds?)?"
_TAGGED = re.compile(rf"<t>\s*({_TIME})\s*{_UNIT}\s*</t>")
_TOKEN = re.compile(rf"(?<!\w)({_TIME}){_UNIT}(?!\w)")
_SECOND = re.compile(r"\s*\d+(?:\.\d+)?\s*")
_OPENING = re.compile(r"[\[{]")
_DECODER = json.JSONDecoder()
_CLOSING = {"{": "}", "[": "]"}
_MAX_STARTS = 64  # brackets at which JSON may begin; a text with more of them in front of its answer holds none


def answer_of(text: str) -> str | None:
    """The words that answer: the answer block, what follows an unclosed one, or all of a text without reasoning.

    None where reasoning stands in the text and no answer tag tells it from the answer.

    >>> answer_of("<think>a</think><answer>b"), answer_of("b"), answer_of("<think>a</think>b")
    ('b', 'b', None)
    """
    closed = find_answer(text)
    if closed is not None:
        return closed
    _, opened, tail = text.rpartition("<answer>")
    if opened:
        return tail.strip()
    return None if "<think>" in text or "</think>" in text else text.strip()


def read_times(text: str) -> list[float]:
    """Start and end that an answer names, seconds; empty where it does not name exactly one segment.

    The first two `<t>` tags of the answer, or else the only two times in it. Where no answer tag tells reasoning from
    answer, only a text with exactly two times is read. A dash in front is no sign; the order is left as it is.

    >>> read_times("From 3.0s to 8.5s"), read_times("1:05 - 0:01:10.5"), read_times("<t>3</t> to <t>8</t> of 90")
    ([3.0, 8.5], [65.0, 70.5], [3.0, 8.0])
    >>> read_times("3, 4 or 5"), read_times("")
    ([], [])
    """
    answer = answer_of(text)
    tagged = _TAGGED.findall(answer) if answer is not None else []
    found = tagged[:2] if len(tagged) >= 2 else _TOKEN.findall(text if answer is None else answer)
    times = [_seconds(token) for token in found]
    return times if len(times) == 2 and all(map(math.isfinite, times)) else []


def read_boxes(text: str, scale: BoxScale, size_px: tuple[float, float]) -> Any:
    """Boxes by second, in pixels of the video.

    Read are: an object from seconds to boxes, a list of such objects, a list of [second, box]; the first one in the
    text counts. A text that was cut behind a complete box is closed. Quotes of Python are taken for JSON's.

    Args:
        text: what the model wrote.
        scale: units in which it writes boxes.
        size_px: width and height of the video.

    Returns:
        Text of the second -> [x1, y1, x2, y2] in whole pixels (a list of such where a second has several). An answer
        of another form comes back as the JSON that it holds, numbers as written, and a list of boxes without seconds
        or a text without JSON as None; neither counts as a box.

    Example:
        >>> read_boxes('It is {"3": [10, 10, 20, 20], "4": [0, 0, 5, 5', BoxScale(100, 100), (640, 360))
        {'3': [64, 36, 128, 72], '4': [0, 0, 32, 18]}
        >>> read_boxes("[[1, 2, 3, 4], [5, 6, 7, 8]]", BoxScale(1, 1), (1, 1)) is None
        True
    """
    answer = answer_of(text)
    body = text if answer is None else answer
    found = _first_boxes(_double_quoted(body))
    if found is not None:
        return scaled_boxes(found, (size_px[0] / scale.width, size_px[1] / scale.height))
    other = reference_boxes(text)
    pairs = isinstance(other, dict) and other and all(is_number(value) for value in other.values())
    return None if pairs else other


def scaled_boxes(boxes: Mapping[str, BoxList], factors: tuple[float, float]) -> dict[str, BoxList]:
    """Boxes by second with x and y multiplied and rounded to whole pixels; as written where nothing is to convert.

    >>> scaled_boxes({"3": [1, 2, 3, 4], "4": [[1, 2, 3, 4], [5, 6, 7, 8]]}, (2.0, 10.0))
    {'3': [2, 20, 6, 40], '4': [[2, 20, 6, 40], [10, 60, 14, 80]]}
    """
    return dict(boxes) if factors == (1, 1) else {second: _scaled(box, factors) for second, box in boxes.items()}


def boxes_by_second(value: Any) -> dict[str, BoxList] | None:
    """JSON as seconds and their boxes; None where any part of it is something else.

    >>> boxes_by_second([["3", [1, 2, 3, 4]]]), boxes_by_second({"3.0": [[1, 2, 3, 4]]})
    ({'3': [1, 2, 3, 4]}, {'3.0': [[1, 2, 3, 4]]})
    >>> boxes_by_second({"time": "3", "bbox": [1, 2, 3, 4]}) is None
    True
    """
    entries: list[tuple[Any, Any]] = []
    for part in value if isinstance(value, list) else [value]:
        if isinstance(part, dict):
            entries += part.items()
        elif isinstance(part, list) and len(part) == 2:
            entries.append((part[0], part[1]))
        else:
            return None
    if all(second_of(key) is not None and _is_boxes(box) for key, box in entries):
        return {str(key): box for key, box in entries}
    return None


def second_of(key: Any) -> float | None:
    """The second that a key of an answer names: a number or its text, without a unit.

    >>> second_of("11.0"), second_of(11), second_of("11s")
    (11.0, 11.0, None)
    """
    if is_number(key):
        return float(key)
    if not isinstance(key, str) or not _SECOND.fullmatch(key):
        return None
    return _finite(key)


def is_number(value: Any) -> bool:
    """Is it a finite number that a coordinate or a time can be, and no truth value.

    >>> is_number(3), is_number("3"), is_number(True), is_number(10**400)
    (True, False, False, False)
    """
    return isinstance(value, int | float) and not isinstance(value, bool) and _finite(value) is not None


def is_box(value: Any) -> bool:
    """Is it a list of four numbers.

    >>> is_box([1, 2, 3, 4]), is_box([1, 2, 3]), is_box(["1", 2, 3, 4])
    (True, False, False)
    """
    return isinstance(value, list) and len(value) == 4 and all(map(is_number, value))


def _finite(value: Any) -> float | None:
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _seconds(token: str) -> float:
    """`mm:ss.f` and the like in seconds."""
    total = 0.0
    for part in token.split(":"):
        total = 60 * total + float(part)
    return total


def _is_boxes(value: Any) -> bool:
    """A box, or a list of one or several."""
    return is_box(value) or (isinstance(value, list) and bool(value) and all(map(is_box, value)))


def _scaled(box: Any, factors: tuple[float, float]) -> Any:
    if isinstance(box[0], list):
        scaled = [_scaled(one, factors) for one in box]
        return scaled[0] if len(scaled) == 1 else scaled
    return [round(number * factors[i % 2]) for i, number in enumerate(box)]


def _double_quoted(text: str) -> str:
    """Single quotes as double ones, where they pair up."""
    return text.replace("'", '"') if text.count("'") % 2 == 0 else text


def _first_boxes(body: str) -> dict[str, BoxList] | None:
    """The first JSON of a text that holds boxes by second; None without, or where brackets behind it do not match."""
    at = 0
    for _ in range(_MAX_STARTS):
        found = _OPENING.search(body, at)
        if found is None:
            break
        value, at = _json_at(body, found.start())
        boxes = boxes_by_second(value)
        if boxes is not None:
            return boxes if _open_brackets(body[at:]) == "" else None
    return None


def _json_at(body: str, start: int) -> tuple[Any, int]:
    """JSON that begins at a bracket and where it ends; what is broken is given up bracket by bracket."""
    try:
        return _DECODER.raw_decode(body, start)
    except (ValueError, RecursionError):
        closed = _closed(body[start:])
        return (None, start + 1) if closed is None else (closed, len(body))


def _closed(text: str) -> Any:
    """A text that was cut, with the brackets that are still open closed."""
    missing = _open_brackets(text)
    if not missing:
        return None
    try:
        return json.loads(text.rstrip() + missing)
    except (ValueError, RecursionError):
        return None


def _open_brackets(text: str) -> str | None:
    """Closing brackets that a text still needs, in order; None where one closes what was not opened."""
    needed: list[str] = []
    inside_string = False
    for character in text:
        if character == '"':
            inside_string = not inside_string
        elif inside_string:
            continue
        elif character in _CLOSING:
            needed.append(_CLOSING[character])
        elif character in "]}" and (not needed or needed.pop() != character):
            return None
    return "".join(reversed(needed))
