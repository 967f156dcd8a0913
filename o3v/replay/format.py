"""Saved rollouts: one JSON object a line, a sample and the completions of it, as training and evaluation write them.

    id              unique in the file
    layout          "single_sample", or "batch": then the fields of a sample stand in `samples`, one record a completion
    task            one of the six task names
    question        text
    answer          truth: text of free-form tasks; "[start, end]" in seconds; option letter, for temporal multiple
                    choice followed by a newline and the segment; for visual QA a text with one box tag
    key_frames      list of {idx, time} (seconds), or null
    key_items       str(idx) -> object name -> list of normalised boxes, or null
    image_size      width, height of the units in which the model writes boxes; for visual QA those of `answer`
    image_size_refine  visual QA: width, height of the units in which the model writes boxes
    step_percent    progress of the training, 0 to 1; null where there is none
    completions     raw texts; null stands for a missing one
    source, video_path, image_path, model, step   where it comes from; may be absent

Other fields are ignored. Files may be packed (`.gz`). Texts and annotations may be anything: a truth that cannot be
read is missing in the `Sample`, and terms that need it are undefined there.
"""

from __future__ import annotations

import ast
import gzip
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from o3v.errors import DataError
from o3v.grounding.parse import parse_completion
from o3v.rewards.answer import CHOICE_TASKS
from o3v.rewards.reference import ReferenceRow, to_row
from o3v.types import Box, BoxScale, Completion, KeyFrame, Sample, Span, Task

LAYOUTS = ("single_sample", "batch")
ROW_FIELDS = ("task", "answer", "key_frames", "key_items", "image_size", "image_size_refine")
_LARGEST = 1e300
_BOX = re.compile(r"<box>(\[.*?\])</box>")
_UNREADABLE: Box = (math.nan, math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class RolloutGroup:
    """One line of a file.

    Attributes:
        id: of the line.
        texts: G raw texts, None for a missing one.
        completions: the same, parsed.
        samples: G samples, all the same object unless `is_batch`.
        rows: G samples as the released code holds them.
        is_batch: completions of several samples.
        progress: share of the training done; None where the line does not say.
    """

    id: str
    texts: tuple[str | None, ...]
    completions: tuple[Completion, ...]
    samples: tuple[Sample, ...]
    rows: tuple[ReferenceRow, ...]
    is_batch: bool
    progress: float | None


def rollout_fields(
    line_id: str,
    sample: Sample,
    texts: Sequence[str],
    scale: BoxScale,
    progress: float | None,
    origin: Mapping[str, Any],
) -> dict[str, Any]:
    """A line's object for the completions of a sample; `read_group` gives the same rewards back.

    Args:
        line_id: unique in the file.
        sample: what was asked.
        texts: G completions.
        scale: units of the boxes in them.
        progress: share of the training done; None for an evaluation.
        origin: `model`, `step` and whatever else tells where they come from.
    """
    row = to_row(sample, scale)
    return {
        "id": line_id,
        "layout": LAYOUTS[0],
        "sample": sample.id,
        "source": sample.source,
        "question": sample.question,
        **{name: getattr(row, name) for name in ROW_FIELDS},
        "task": str(sample.task),
        "video_path": None if sample.video_path is None else str(sample.video_path),
        "image_path": None if sample.image_path is None else str(sample.image_path),
        "step_percent": progress,
        **origin,
        "completions": list(texts),
    }


def read_rollouts(path: Path) -> Iterator[RolloutGroup]:
    """Groups of a file in its order, one at a time.

    Raises:
        DataError: no such file, or a line that is no rollout; names file and line.
    """
    for number, line in enumerate(_lines(path), start=1):
        if line.strip():
            place = f"{path}:{number}"
            yield read_group(_object(line, place), place)


def read_group(fields: Mapping[str, Any], place: str) -> RolloutGroup:
    """A group from a line's object.

    Raises:
        DataError: a field that every line needs is missing or of another kind.
    """
    texts = fields.get("completions")
    if not isinstance(texts, list) or not all(text is None or isinstance(text, str) for text in texts):
        raise DataError(f"{place}: completions must be a list of texts or null")
    if "id" not in fields:
        raise DataError(f"{place}: id is missing")
    layout = fields.get("layout", LAYOUTS[0])
    if layout not in LAYOUTS:
        raise DataError(f"{place}: layout={layout!r} must be one of {LAYOUTS}")
    records = fields.get("samples") if layout == "batch" else [fields] * len(texts)
    if not isinstance(records, list) or len(records) != len(texts):
        raise DataError(f"{place}: samples must be a list as long as completions")
    progress = fields.get("step_percent")
    if progress is not None and not _is_number(progress):
        raise DataError(f"{place}: step_percent={progress!r} must be a number or null")
    distinct = {id(record): record for record in records}
    read = {key: _read_record(record, str(fields["id"]), place) for key, record in distinct.items()}
    parts = [read[id(record)] for record in records]
    return RolloutGroup(
        id=str(fields["id"]),
        texts=tuple(texts),
        completions=tuple(parse_completion(text, scale) for text, (_, _, scale) in zip(texts, parts, strict=True)),
        samples=tuple(sample for sample, _, _ in parts),
        rows=tuple(row for _, row, _ in parts),
        is_batch=layout == "batch",
        progress=progress,
    )


def _lines(path: Path) -> Iterator[str]:
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as lines:
            yield from lines
    except (OSError, EOFError) as error:
        raise DataError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text (byte {error.start})") from error


def _object(line: str, place: str) -> Mapping[str, Any]:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place}: not JSON ({error})") from error
    if not isinstance(fields, dict):
        raise DataError(f"{place}: wanted a JSON object")
    return fields


def _read_record(record: Any, line_id: str, place: str) -> tuple[Sample, ReferenceRow, BoxScale]:
    tasks = [task.value for task in Task]
    if not isinstance(record, Mapping) or record.get("task") not in tasks:
        found = record.get("task") if isinstance(record, Mapping) else record
        raise DataError(f"{place}: task={found!r} must be one of {tasks}")
    fields: dict[str, Any] = {name: record.get(name) for name in ROW_FIELDS}
    row = ReferenceRow(**fields)
    task = Task(record["task"])
    size = row.image_size_refine if task == Task.VISUAL_QA else row.image_size
    return _sample(record, row, task, line_id), row, BoxScale(*size) if _is_size(size) else BoxScale(1, 1)


def _sample(record: Mapping[str, Any], row: ReferenceRow, task: Task, line_id: str) -> Sample:
    answer = row.answer if isinstance(row.answer, str) else ""
    head, *lines = answer.split("\n")
    span_text = {Task.TEMPORAL_QA: answer, Task.TEMPORAL_MCQ: lines[0] if lines else ""}.get(task)
    video, image = record.get("video_path"), record.get("image_path")
    return Sample(
        id=str(record.get("sample") or line_id),
        source=str(record.get("source") or ""),
        task=task,
        question=str(record.get("question") or ""),
        answer=answer,
        reasoning="",
        video_path=Path(video) if isinstance(video, str) else None,
        image_path=Path(image) if isinstance(image, str) else None,
        key_frames=_key_frames(row) if task == Task.TEMPORAL_SPATIAL else (),
        span_s=None if span_text is None else _span(span_text),
        box=_still_box(row) if task == Task.VISUAL_QA else None,
        letter=head.strip() if task in CHOICE_TASKS else None,
    )


def _span(text: str) -> Span | None:
    try:
        start, end = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return None
    return (start, end) if _is_number(start) and _is_number(end) else None


def _still_box(row: ReferenceRow) -> Box | None:
    found = _BOX.search(row.answer) if isinstance(row.answer, str) else None
    if found is None or not (_is_size(row.image_size) and _is_size(row.image_size_refine)):
        return None
    try:
        box = json.loads(found.group(1))[:4]
    except (ValueError, RecursionError):
        return None
    readable = len(box) == 4 and all(map(_is_number, box))
    return BoxScale(*row.image_size).to_unit(_box(box)) if readable else None


def _key_frames(row: ReferenceRow) -> tuple[KeyFrame, ...]:
    items = row.key_items if isinstance(row.key_items, Mapping) else {}
    listed = row.key_frames if isinstance(row.key_frames, list) else []
    timed = [frame for frame in listed if isinstance(frame, Mapping) and _is_number(frame.get("time"))]
    readable = _is_size(row.image_size)
    return tuple(KeyFrame(frame["time"], _items(items.get(str(frame.get("idx"))), readable), None) for frame in timed)


def _items(named: Any, readable: bool) -> dict[str, tuple[Box, ...]]:
    """Object name -> boxes; boxes that cannot be read are NaN, which leaves a reward that needs them undefined."""
    if not isinstance(named, Mapping):
        return {}
    listed = {name: boxes if isinstance(boxes, list) else [boxes] for name, boxes in named.items() if boxes is not None}
    return {name: tuple(_box(box) if readable else _UNREADABLE for box in boxes) for name, boxes in listed.items()}


def _box(box: Any) -> Box:
    if not isinstance(box, list) or len(box) != 4 or not all(_is_number(value) for value in box):
        return _UNREADABLE
    return box[0], box[1], box[2], box[3]


def _is_size(size: Any) -> bool:
    return isinstance(size, list | tuple) and len(size) == 2 and all(_is_number(side) and side > 0 for side in size)


def _is_number(value: Any) -> TypeGuard[float]:
    """A finite number; a whole number of hundreds of digits is none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST
