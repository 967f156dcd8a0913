"""V_STaR_test.json: a list of items, each a question about a video with its moment and its boxes."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from o3v.errors import DataError
from o3v.types import Span

LENGTHS = {"Short": 60.0, "Medium": 180.0, "Long": math.inf}
"""Groups by length: Short below 60 s, Medium below 180 s, Long. The paper's text has limits of 1, 3 and 60 minutes."""

_QUESTIONS = ("question", "temporal_question", "spatial_question", "spatial_question_2")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class TruthBox:
    """An annotated box.

    Attributes:
        key: the second as the annotation's text has it, `11` or `11.0`.
        second: the same as a number.
        box_px: x1, y1, x2, y2 in pixels of the video, as annotated.
    """

    key: str
    second: float
    box_px: tuple[float, float, float, float]


@dataclass(frozen=True)
class Item:
    """One annotated item; five questions are asked about it.

    Attributes:
        id: unique in a file: the video's name and a digest of what is asked.
        vid: name of the video's file without its ending.
        domain: one of nine; `unknown` where the annotation has none.
        duration_s: frames / rate, to 0.01 s.
        size_px: width and height of the video.
        question, answer: what is asked first, and the right words.
        temporal_question, spatial_question, spatial_question_2: when, where (given when), where (not given when).
        span_s: the annotated moment.
        boxes: one a second of the moment (TVQA+: every two seconds).
    """

    id: str
    vid: str
    domain: str
    duration_s: float
    size_px: tuple[float, float]
    question: str
    answer: str
    temporal_question: str
    spatial_question: str
    spatial_question_2: str
    span_s: Span
    boxes: tuple[TruthBox, ...]

    @property
    def length(self) -> str:
        """Group by length, a key of `LENGTHS`."""
        return next(name for name, limit_s in LENGTHS.items() if self.duration_s < limit_s or math.isinf(limit_s))


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON file that is a list of objects.

    Raises:
        DataError: no such file, not JSON, or something else in it.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{path}: wanted a list of objects")
    return rows


def read_items(rows: Sequence[Mapping[str, Any]], place: str, required: Sequence[str] = _QUESTIONS) -> list[Item]:
    """Items of a file's rows, in their order.

    Args:
        rows: as published.
        place: named in errors.
        required: texts that every row must have; others may be missing, which leaves them empty.

    Raises:
        DataError: a field is missing or is not what it should be; names row, field and value.
    """
    items = [_item(row, f"{place}: row {number}", required) for number, row in enumerate(rows)]
    return _with_ids(items)


def _item(row: Mapping[str, Any], place: str, required: Sequence[str]) -> Item:
    missing = [key for key in required if not isinstance(row.get(key), str)]
    if missing:
        raise DataError(f"{place}: no text under {missing}")
    frames, rate, width, height = (_number(row, key, place) for key in ("frame_count", "fps", "width", "height"))
    for key, value in (("fps", rate), ("width", width), ("height", height)):
        if value <= 0:
            raise DataError(f"{place}: {key}={value}; wanted a number above 0")
    texts = {key: str(row.get(key) or "") for key in (*_QUESTIONS, "answer")}
    vid = str(row.get("vid", ""))
    return Item(
        id=vid,
        vid=vid,
        domain=str(row.get("domain", "unknown")),
        duration_s=round(frames / rate, 2),
        size_px=(width, height),
        span_s=_span(row.get("timestamps"), place),
        boxes=_boxes(row.get("bboxes"), place),
        **texts,
    )


def _number(row: Mapping[str, Any], key: str, place: str) -> Any:
    value = row.get(key)
    if not _is_finite(value):
        raise DataError(f"{place}: {key}={value!r}; wanted a number")
    return value


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf


def _span(value: Any, place: str) -> Span:
    if not isinstance(value, list) or len(value) != 2 or not all(map(_is_finite, value)):
        raise DataError(f"{place}: timestamps={value!r}; wanted [start, end] in seconds")
    return value[0], value[1]


def _boxes(value: Any, place: str) -> tuple[TruthBox, ...]:
    if not isinstance(value, list):
        raise DataError(f"{place}: bboxes={value!r}; wanted a list")
    return tuple(_box(entry, f"{place}: bboxes[{number}]") for number, entry in enumerate(value))


def _box(entry: Any, place: str) -> TruthBox:
    if not isinstance(entry, dict):
        raise DataError(f"{place}={entry!r}; wanted an object")
    x1, y1, x2, y2 = (_number(entry, key, place) for key in _CORNERS)
    second = entry.get("timestamp")
    try:
        number = float(second)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise DataError(f"{place}: timestamp={second!r}; wanted a second") from error
    return TruthBox(str(second), number, (x1, y1, x2, y2))


def _with_ids(items: Sequence[Item]) -> list[Item]:
    """The video's name with a digest of what is asked, and with a number for repeats: the same in any selection."""
    seen: Counter[str] = Counter()
    named = []
    for item in items:
        name = f"{item.vid}-{_digest(item)}"
        seen[name] += 1
        named.append(replace(item, id=name if seen[name] == 1 else f"{name}-{seen[name]}"))
    return named


def _digest(item: Item) -> str:
    text = json.dumps([item.question, item.answer, item.temporal_question, item.span_s], ensure_ascii=False)
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()[:8]
