"""One row of the official STGR layout -> Sample, every field checked.

Coordinates are normalised here, once: spatio-temporal rows are published in 0 to 1, visual QA rows in pixels of
`image_size`. A row that does not validate raises `RowError` with the field and the reason; the reader of the file
turns it into a counted fault.

Differs from the reference: it uses rows unchecked and one bad annotation ends its run (reward_func.py:339-572);
media roots are found by substring in two different chains (grpo_trainer.py:412-435, sft_multi_task.py:92-316).
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, TypeGuard, TypeVar

from o3v.grounding.boxes import clip, is_valid
from o3v.grounding.parse import read_boxes, read_letter, read_span
from o3v.grounding.render import render_span, rewrite_boxes
from o3v.types import Box, BoxScale, KeyFrame, Sample, Span, Task

BOX_TOLERANCE = 0.02
"""How far, as a share of the frame, a box may stick out before it counts as an error; it is cut to the frame."""

UNIT = BoxScale(1, 1)
TEMPORAL = (Task.TEMPORAL_QA, Task.TEMPORAL_MCQ)

_NUMBER = r"(-?[0-9]+(?:\.[0-9]+)?)"
PAIR = re.compile(rf"[\[(]\s*{_NUMBER}\s*,\s*{_NUMBER}\s*[\])]")
"""A segment as RL rows publish it: `[10.14, 14.36]` or `(10.14, 14.36)`."""

LEADING_LETTER = re.compile(r"\s*\(?([A-Z])(?:\.|\)|:)\s")
"""A letter with its option's text behind it: `B. a cat`."""

Kind = TypeVar("Kind")


class RowError(Exception):
    """A row that does not validate: the field and what is wrong with it.

    Attributes:
        kind: what a check counts it as: `unreadable`, `box_outside`, `box_empty`, `span_outside` or `span_empty`.
    """

    def __init__(self, field: str, reason: str, kind: str = "unreadable") -> None:
        super().__init__(f"{field}: {reason}")
        self.kind = kind


@dataclass(frozen=True)
class MediaFolders:
    """Where the media of a group of sources lie, below `videos/` of the data root; None: there are none.

    Attributes:
        prefix: sources that start with it belong here.
        videos: folder of videos.
        images: folder of images: what visual QA asks about, or still pictures of key frames.
    """

    prefix: str
    videos: str | None
    images: str | None


MEDIA_FOLDERS = (
    # The first prefix that fits decides, so STR_plm stands before STR_.
    MediaFolders("STR_plm", "stgr/plm/videos", "stgr/plm/kfs"),
    MediaFolders("STR_", "stgr/temporal_grounding/videos", "stgr/temporal_grounding/kfs"),
    MediaFolders("videoespresso", "videoespresso/videos", "videoespresso/kfs"),
    MediaFolders("timerft", "timerft", None),
    MediaFolders("TVG_", "tvg_r1", None),
    MediaFolders("TreeVGR", None, "treevgr"),
    MediaFolders("gqa", None, "gqa"),
    MediaFolders("videor1", "videor1", "videor1"),
)
"""The one table source -> folder."""


def read_row(row: Mapping[str, Any], sample_id: str, data_root: Path) -> Sample:
    """Validate a row and make its sample.

    Args:
        row: as published (paper.md 2.2).
        sample_id: unique id.
        data_root: holds `videos`. Whether the media file exists is not looked at here.

    Raises:
        RowError: naming the field, the value and what would be allowed.
    """
    task = read_task(row)
    source = _text(row, "source")
    is_image = _is_image(row, task)
    field = "image_path" if is_image else "video_path"
    path = _inside(field, _text(row, field), data_root / media_folder(source, is_image))
    convert = _text_converter(row, task)
    answer, span_s, letter = _answer(row, task)
    sample = Sample(
        id=sample_id,
        source=source,
        task=task,
        question=_text(row, "question"),
        answer=convert("answer", answer),
        reasoning=convert("reasoning_process", _optional_text(row, "reasoning_process")),
        video_path=None if is_image else path,
        image_path=path if is_image else None,
        key_frames=() if is_image else _key_frames(row, source, data_root),
        span_s=span_s,
        box=None,
        letter=letter,
    )
    return _checked(sample)


def read_task(row: Mapping[str, Any]) -> Task:
    """The row's task.

    Raises:
        RowError: unknown task, with the allowed ones.
    """
    name = row.get("task")
    if name not in [task.value for task in Task]:
        raise RowError("task", f"unknown task {name!r}, allowed are {', '.join(task.value for task in Task)}")
    return Task(name)


@cache
def media_folder(source: str, is_image: bool) -> Path:
    """Folder of a source's videos or images, relative to the data root.

    >>> str(media_folder("STR_plm_rdcap", is_image=False)), str(media_folder("gqa", is_image=True))
    ('videos/stgr/plm/videos', 'videos/gqa')

    Raises:
        RowError: no prefix fits, or the source has no such media.
    """
    folders = _folders(source)
    folder = folders.images if is_image else folders.videos
    if folder is None:
        raise RowError("source", f"{source!r} has no {'images' if is_image else 'videos'}")
    return Path("videos") / folder


def _folders(source: str) -> MediaFolders:
    """Entry of the table for a source."""
    for folders in MEDIA_FOLDERS:
        if source.startswith(folders.prefix):
            return folders
    allowed = ", ".join(f"{folders.prefix}*" for folders in MEDIA_FOLDERS)
    raise RowError("source", f"unknown source {source!r}, allowed are {allowed}")


def _checked(sample: Sample) -> Sample:
    """What a task needs beyond its fields, and the box of visual QA."""
    if sample.task is Task.TEMPORAL_SPATIAL and not sample.key_frames:
        raise RowError("key_frames", "empty, but a temporal-spatial row needs at least one")
    if sample.task is not Task.VISUAL_QA:
        return sample
    boxes = read_boxes(sample.answer, UNIT)
    if not boxes and not sample.reasoning:
        raise RowError("answer", f"no readable <box>[x1,y1,x2,y2]</box> in {short_value(sample.answer)}")
    return replace(sample, box=boxes[0] if boxes else None)


def _text(row: Mapping[str, Any], field: str) -> str:
    """A text that must not be empty; a bare number counts as its text."""
    value = row.get(field)
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        raise RowError(field, f"{short_value(value)}, wanted a text that is not empty")
    return value


def _optional_text(row: Mapping[str, Any], field: str) -> str:
    return "" if row.get(field) is None or row[field] == "" else _text(row, field)


def short_value(value: object) -> str:
    """A value as an error message shows it."""
    try:
        text = repr(value)
    except RecursionError:
        text = f"a {type(value).__name__} that is nested too deeply to be shown"
    return text if len(text) <= 80 else f"{text[:77]}..."


def _is_image(row: Mapping[str, Any], task: Task) -> bool:
    """Visual QA is about its image, also where a video stands beside it; other tasks only without a video."""
    general = task in (Task.GENERAL_MCQ, Task.GENERAL_FREE_FORM)
    return task is Task.VISUAL_QA or (general and not row.get("video_path") and bool(row.get("image_path")))


def _inside(field: str, relative: str, folder: Path) -> Path:
    """`folder` / `relative`; refused where the text climbs out (links are looked at when the file is)."""
    path = PurePosixPath(relative)
    if path.is_absolute() or ".." in path.parts or "\0" in relative:
        raise RowError(field, f"{short_value(relative)} leaves the data root, wanted a path below {folder}")
    return folder / path


def _text_converter(row: Mapping[str, Any], task: Task) -> Callable[[str, str], str]:
    """(field, text) -> text with normalised boxes, for the tasks whose texts carry boxes."""
    if task is Task.VISUAL_QA:
        scale = BoxScale(*_image_size(row))
    elif task is Task.TEMPORAL_SPATIAL:
        scale = UNIT
    else:
        return lambda field, text: text
    return lambda field, text: rewrite_boxes(text, lambda box: _unit_box(field, box, scale))


def _image_size(row: Mapping[str, Any]) -> tuple[float, float]:
    size = row.get("image_size")
    if not (isinstance(size, list) and len(size) == 2 and all(is_number(v) and v > 0 for v in size)):
        raise RowError("image_size", f"{short_value(size)}, wanted [width, height] in pixels of the original image")
    return float(size[0]), float(size[1])


def _unit_box(field: str, box: Sequence[float], scale: BoxScale) -> Box:
    """A published box, normalised and cut to the frame."""
    x1, y1, x2, y2 = scale.to_unit((box[0], box[1], box[2], box[3]))
    unit = "" if scale == UNIT else f" in {scale.width:g}x{scale.height:g}"
    if min(x1, y1) < -BOX_TOLERANCE or max(x2, y2) > 1 + BOX_TOLERANCE:
        raise RowError(field, f"box {short_value(list(box))}{unit} lies outside the frame", "box_outside")
    inside = clip((x1, y1, x2, y2))
    if not is_valid(inside):
        raise RowError(
            field, f"box {short_value(list(box))}{unit} has no area, wanted x1 < x2 and y1 < y2", "box_empty"
        )
    return inside


def _answer(row: Mapping[str, Any], task: Task) -> tuple[str, Span | None, str | None]:
    """Answer text, segment and letter; temporal answers of both stages become one sentence."""
    value = row.get("answer")
    if task in TEMPORAL and isinstance(value, list | tuple):
        value = str(list(value))
    text = _text({"answer": value}, "answer")
    letter = _letter(text) if task in (Task.TEMPORAL_MCQ, Task.GENERAL_MCQ) else None
    if task not in TEMPORAL:
        return text, None, letter
    span_s = _span(text)
    return render_span(span_s, letter), span_s, letter


def _span(text: str) -> Span:
    """The segment of `[s, e]`, with or without a letter before it, or of the sentence `From <t>s</t>s to <t>e</t>s`."""
    found = PAIR.search(text)
    span_s = (float(found[1]), float(found[2])) if found else read_span(text)
    if span_s is None:
        raise RowError(
            "answer", f"{short_value(text)} names no segment, wanted [start, end] or From <t>..</t>s to <t>..</t>s"
        )
    return check_span("answer", span_s)


def check_span(field: str, span_s: Span) -> Span:
    """The segment itself.

    Raises:
        RowError: it begins before 0, has no length, or does not end.
    """
    wanted = f"segment {list(span_s)}, wanted 0 <= start < end in seconds"
    if not 0 <= span_s[0] <= span_s[1] < math.inf:
        raise RowError(field, wanted, "span_outside" if span_s[0] <= span_s[1] else "span_empty")
    if span_s[0] == span_s[1]:
        raise RowError(field, wanted, "span_empty")
    return span_s


def _letter(text: str) -> str:
    """The option letter: alone, before the segment, after `Correct Option:`, or leading as in `B. a cat`."""
    letter = read_letter(PAIR.sub("", text))
    if letter is None:
        found = LEADING_LETTER.match(text)
        letter = found[1] if found else None
    if letter is None:
        raise RowError("answer", f"{short_value(text)} names no option, wanted a letter A to Z")
    return letter


def _key_frames(row: Mapping[str, Any], source: str, data_root: Path) -> tuple[KeyFrame, ...]:
    """Annotated moments in order of time with their boxes; null columns count as empty."""
    published = _of_type(row.get("key_frames") or [], list, "key_frames", "a list")
    items = _of_type(row.get("key_items") or {}, dict, "key_items", "an object")
    folder = data_root / media_folder(source, is_image=True) if _folders(source).images else None
    frames = [_key_frame(f"key_frames[{i}]", entry, items, folder) for i, entry in enumerate(published)]
    return tuple(sorted(frames, key=lambda frame: frame.time_s))


def _key_frame(field: str, entry: object, items: Mapping[str, Any], folder: Path | None) -> KeyFrame:
    frame = _of_type(entry, dict, field, "an object")
    time_s, idx, path = frame.get("time"), frame.get("idx"), frame.get("path")
    if not is_number(time_s) or time_s < 0:
        raise RowError(f"{field}.time", f"{short_value(time_s)}, wanted seconds of 0 or more")
    if not isinstance(idx, int | str) or isinstance(idx, bool):
        raise RowError(f"{field}.idx", f"{short_value(idx)}, wanted the number under which key_items holds its boxes")
    image = _inside(f"{field}.path", _text(frame, "path"), folder) if path and folder else None
    return KeyFrame(float(time_s), _boxes(f"key_items[{idx}]", items.get(str(idx)) or {}), image)


def _boxes(field: str, published: object) -> dict[str, tuple[Box, ...]]:
    """Object name -> boxes; names without a box are padding of the table format and dropped."""
    by_name = _of_type(published, dict, field, "an object of names and boxes")
    found = {name: _box_list(f"{field}[{name!r}]", boxes) for name, boxes in by_name.items() if boxes}
    return {name: boxes for name, boxes in found.items() if boxes}


def _box_list(field: str, published: object) -> tuple[Box, ...]:
    boxes = [box for box in _of_type(published, list, field, "a list of boxes") if box is not None]
    for box in boxes:
        if not (isinstance(box, list) and len(box) == 4 and all(is_number(v) for v in box)):
            raise RowError(field, f"{short_value(box)}, wanted [x1, y1, x2, y2]")
    return tuple(_unit_box(field, box, UNIT) for box in boxes)


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value of JSON is a number that a float can hold; True and False are none.

    >>> [is_number(value) for value in (1, 0.5, True, float("nan"), 10**400, "1")]
    [True, True, False, False, False, False]
    """
    # integers of more than 308 digits are no floats: math.isfinite would raise
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < sys.float_info.max


def _of_type(value: object, kind: type[Kind], field: str, wanted: str) -> Kind:
    if not isinstance(value, kind):
        raise RowError(field, f"{short_value(value)}, wanted {wanted}")
    return value
