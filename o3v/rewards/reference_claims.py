"""Claims as the released code's pattern finds them, running over other tags, in bounded time.

The pattern is an obj tag, one or more box tags, `at`, a t tag and `s`, each element being "anything up to". A regular
expression engine tries exponentially many ways to split a row of boxes; here each position is tried once.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

_OBJ, _OBJ_END, _BOX, _BOX_END, _AT, _AT_END = "<obj>", "</obj>", "<box>[", "]</box>", "at<t>", "</t>s"
_LIST = re.compile(r"\[.*?\]")


@dataclass(frozen=True)
class RawClaim:
    """A claim with whatever its box tags hold as JSON, and a time that may be NaN or infinite.

    Attributes:
        boxes: JSON values.
        time_s: cited time.
    """

    boxes: tuple[Any, ...]
    time_s: float


@dataclass(frozen=True)
class _Tail:
    boxes_end: int
    end: int


def read_overspanning_claims(think: str) -> tuple[RawClaim, ...]:
    """Claims of a think block; those whose boxes are no JSON or whose time is no number are left out.

    >>> text = "<obj>a</obj><box>[1,1,2,2]</box> and <obj>b</obj><box>[3,3,4,4]</box>at<t>3</t>s"
    >>> read_overspanning_claims(text)
    (RawClaim(boxes=([1, 1, 2, 2], [3, 3, 4, 4]), time_s=3.0),)
    """
    tails = _tails(think)
    claims, cursor = [], think.find(_OBJ)
    while cursor >= 0:
        found = _match(think, cursor, tails)
        if found:
            claims.append(_load(*found[1:]))
        cursor = think.find(_OBJ, found[0] if found else cursor + 1)
    return tuple(claim for claim in claims if claim is not None)


def _match(think: str, start: int, tails: dict[int, _Tail | None]) -> tuple[int, str, str] | None:
    """End of the claim that starts here, its row of boxes, its time."""
    name_end = think.find(_OBJ_END, start + len(_OBJ))
    while name_end >= 0:
        at = name_end + len(_OBJ_END)
        tail = tails.get(at)
        if tail:
            time = think[tail.boxes_end + len(_AT) : tail.end - len(_AT_END)]
            return tail.end, think[at : tail.boxes_end], time
        name_end = think.find(_OBJ_END, name_end + 1)
    return None


def _tails(think: str) -> dict[int, _Tail | None]:
    """Where a row of boxes can start -> where it and its claim end; longest row first, shortest boxes first."""
    ends = [found.end() for found in re.finditer(re.escape(_BOX_END), think)]
    starts = {found.end() for found in re.finditer(re.escape(_OBJ_END), think)}
    tails: dict[int, _Tail | None] = {}
    for at in sorted(starts | set(ends), reverse=True):
        row = None
        if think.startswith(_BOX, at):
            inner = (end for end in ends if end >= at + len(_BOX) + len(_BOX_END))
            row = next((tail for end in inner if (tail := tails[end] or _time_tail(think, end))), None)
        tails[at] = row
    return tails


def _time_tail(think: str, at: int) -> _Tail | None:
    closing = think.find(_AT_END, at + len(_AT)) if think.startswith(_AT, at) else -1
    return _Tail(at, closing + len(_AT_END)) if closing >= 0 else None


def _load(boxes: str, time: str) -> RawClaim | None:
    try:
        return RawClaim(tuple(json.loads(text) for text in _LIST.findall(boxes)), float(time.strip()))
    except ValueError:
        return None
