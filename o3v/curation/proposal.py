"""Reads what an annotator proposes: any text in, a proposal or a reason out, never an exception.

JSON, also inside a code fence or between other words:

    {"question": "..", "answer": "..", "reasoning": ".. <obj>cat</obj><box>[..]</box>at<t>3.0</t>s ..",
     "key_frames": [{"time": 3.0, "objects": [{"name": "cat", "boxes": [[..]]}]}]}

A key frame may say `"frame": k` (as in `Frame k at t s`) in place of its time, `objects` may be `{"cat": [..]}`.
Tags: `<think>..claims..</think><answer>..</answer>`; the claims are the annotation.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from o3v.curation.language import BoxLanguage
from o3v.grounding.parse import ABSURD_TIME_S, parse_completion
from o3v.grounding.render import rewrite_boxes
from o3v.types import Box, BoxScale, KeyFrame

MAX_CHARS = 100_000
"""A longer reply is not read: no annotation needs it."""

MAX_NAME_CHARS = 80
_TRIED = 8  # opening braces at which a JSON object may begin
_RESERVED = re.compile(r"</?(?:think|answer)>|<\|")
_TAG = re.compile(r"</?(?:obj|box|t|think|answer)>|<\|")
_SECONDS = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?)\s*s?\s*")


@dataclass(frozen=True)
class Proposal:
    """What an annotator proposes, boxes normalised but not looked at.

    Attributes:
        question, answer: "" where it gives none.
        reasoning: in the tag grammar.
        key_frames: by time, one a time.
        unread: parts of the annotation that could not be read, a few words each.
    """

    question: str
    answer: str
    reasoning: str
    key_frames: tuple[KeyFrame, ...]
    unread: tuple[str, ...]


@dataclass(frozen=True)
class Shown:
    """What the annotator was shown: (width, height) of the frames and their times."""

    size_px: tuple[int, int]
    times_s: tuple[float, ...]


def read_proposal(text: str, form: str, language: BoxLanguage, shown: Shown) -> Proposal | str:
    """The proposal of a reply, or why there is none.

    Args:
        text: the reply.
        form: `json` or `tags`.
        language: how its boxes are written.
        shown: the frames that it is about.

    Example:
        >>> reply = '{"key_frames": [{"frame": 2, "objects": {"cat": [0, 0, 500, 1000]}}], "reasoning": "ok"}'
        >>> found = read_proposal(reply, "json", BoxLanguage("thousand", "xyxy"), Shown((84, 84), (0.0, 1.0)))
        >>> found.key_frames[0].time_s, dict(found.key_frames[0].boxes)
        (1.0, {'cat': ((0.0, 0.0, 0.5, 1.0),)})
        >>> read_proposal("I see nothing.", "json", BoxLanguage("unit", "xyxy"), Shown((84, 84), ()))
        'no JSON object with key_frames'
    """
    if len(text) > MAX_CHARS:
        return f"longer than {MAX_CHARS} characters"
    safe = text.encode("utf-8", "replace").decode("utf-8")
    found = _from_tags(safe, language, shown) if form == "tags" else _from_json(safe, language, shown)
    return _reserved(found) or found if isinstance(found, Proposal) else found


def read_yes(text: str) -> bool | None:
    """A yes or no; None where the first of these words cannot be found. An answer block goes before what precedes it.

    >>> read_yes("Yes, it is."), read_yes("<think>no idea</think><answer>YES</answer>"), read_yes("maybe")
    (True, True, None)
    """
    _, mark, tail = text[:MAX_CHARS].partition("<answer>")
    found = re.search(r"\b(yes|no)\b", (tail if mark else text[:MAX_CHARS]).lower())
    return None if found is None else found[1] == "yes"


def _reserved(found: Proposal) -> str:
    """Why the texts cannot stand in a row: they would open or close its blocks."""
    if _TAG.search(found.question) or _TAG.search(found.answer):
        return "tags in question or answer"
    return "reserved tags in the reasoning" if _RESERVED.search(found.reasoning) else ""


def _from_tags(text: str, language: BoxLanguage, shown: Shown) -> Proposal | str:
    done = parse_completion(rewrite_boxes(text, lambda box: language.to_unit(box, shown.size_px)), BoxScale(1, 1))
    if done.think is None or done.answer is None:
        return "no think block followed by an answer block"
    objects = [(claim.time_s, claim.name, claim.boxes) for claim in done.claims if _is_name(claim.name)]
    return Proposal("", done.answer, done.think.strip(), merged(objects), ())


def _from_json(text: str, language: BoxLanguage, shown: Shown) -> Proposal | str:
    row = _json_object(text)
    if row is None:
        return "no JSON object with key_frames"
    unread: list[str] = []
    objects = [
        (time_s, name, tuple(language.to_unit(box, shown.size_px) for box in boxes))
        for time_s, name, boxes in _objects(row["key_frames"], shown.times_s, unread)
    ]
    reasoning = rewrite_boxes(_text(row, "reasoning"), lambda box: language.to_unit(box, shown.size_px))
    return Proposal(_text(row, "question"), _text(row, "answer"), reasoning, merged(objects), tuple(unread))


def merged(objects: Sequence[tuple[float, str, tuple[Box, ...]]]) -> tuple[KeyFrame, ...]:
    """(time, name, boxes) as key frames: one a time, one entry a name, no box twice.

    >>> [frame.time_s for frame in merged([(2.0, "a", ()), (1.0, "b", ()), (2.0, "c", ())])]
    [1.0, 2.0]
    """
    frames: dict[float, dict[str, tuple[Box, ...]]] = {}
    for time_s, name, boxes in objects:
        names = frames.setdefault(time_s, {})
        names[name] = tuple(dict.fromkeys((*names.get(name, ()), *boxes)))
    return tuple(KeyFrame(time_s, frames[time_s], None) for time_s in sorted(frames))


def _json_object(text: str) -> Mapping[str, Any] | None:
    """The first JSON object with the key `key_frames`."""
    decoder, start = json.JSONDecoder(), -1
    for _ in range(_TRIED):
        start = text.find("{", start + 1)
        if start < 0:
            return None
        try:
            found, _ = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict) and "key_frames" in found:
            return found
    return None


def _objects(frames: Any, times_s: tuple[float, ...], unread: list[str]) -> Iterator[tuple[float, str, list[Any]]]:
    """(time, name, boxes of four finite numbers) of every object that can be read; the others are listed."""
    if not isinstance(frames, list):
        unread.append("key_frames is no list")
        return
    for frame in frames:
        time_s = _time(frame, times_s) if isinstance(frame, dict) else None
        if time_s is None:
            unread.append("a key frame without a readable time")
            continue
        for name, boxes in _named(frame.get("objects")):
            readable = [box for box in boxes if _is_box(box)]
            if not _is_name(name) or not readable:
                unread.append("an object without a name or a box of four numbers")
            else:
                yield time_s, name.strip(), readable


def _time(frame: Mapping[str, Any], times_s: tuple[float, ...]) -> float | None:
    """Seconds of a key frame, by its time or by the number of a frame that was shown."""
    value, number = frame.get("time"), frame.get("frame")
    if isinstance(value, str) and (found := _SECONDS.fullmatch(value)):
        value = float(found[1])
    if _is_number(value):
        return float(value) if 0 <= value <= ABSURD_TIME_S else None
    if isinstance(number, int) and not isinstance(number, bool) and 1 <= number <= len(times_s):
        return times_s[number - 1]
    return None


def _named(objects: Any) -> Iterator[tuple[Any, list[Any]]]:
    """(name, list of boxes) in any of the forms that models write."""
    if isinstance(objects, dict):
        yield from ((name, _box_list(boxes)) for name, boxes in objects.items())
    elif isinstance(objects, list):
        for one in objects:
            if isinstance(one, dict):
                boxes = next((one[key] for key in ("boxes", "box", "bbox", "bbox_2d") if key in one), None)
                yield one.get("name", one.get("label")), _box_list(boxes)
            else:
                yield None, []


def _box_list(value: Any) -> list[Any]:
    return ([value] if _is_box(value) else value) if isinstance(value, list) else []


def _is_box(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(_is_number(number) for number in value)


def _is_number(value: Any) -> TypeGuard[float]:
    if isinstance(value, int) and not isinstance(value, bool):
        return abs(value) < 2**53
    return isinstance(value, float) and math.isfinite(value)


def _is_name(value: Any) -> TypeGuard[str]:
    return (
        isinstance(value, str) and 0 < len(value.strip()) <= MAX_NAME_CHARS and not re.search(r"[<>\x00-\x1f]", value)
    )


def _text(row: Mapping[str, Any], key: str) -> str:
    value = row.get(key)
    return value.encode("utf-8", "replace").decode("utf-8").strip() if isinstance(value, str) else ""
