"""Reads golden reward lines and turns them into this project's inputs, bad annotations included."""

import ast
import functools
import gzip
import json
import re
from pathlib import Path

from o3v.grounding.parse import parse_completion
from o3v.rewards.reference import ReferenceRow
from o3v.types import BoxScale, KeyFrame, Sample, Task

TERMS = ("ans_acc", "ans_tiou", "ans_viou", "thk_temporal_point", "thk_temporal_segment", "thk_spatial", "format")
SMALL = Path(__file__).parent / "golden" / "rewards.jsonl.gz"
FULL = Path(__file__).parents[3] / "shared" / "golden" / "rewards.jsonl.gz"
FIELDS = ("task", "answer", "key_frames", "key_items", "image_size", "image_size_refine")


@functools.cache
def read_lines(path: Path) -> tuple[dict, ...]:
    with gzip.open(path, "rt") as lines:
        return tuple(json.loads(line) for line in lines)


def samples_of(line: dict) -> list[dict]:
    """One record a completion, whatever the layout."""
    return line["samples"] if line["layout"] == "batch" else [line] * len(line["completions"])


def to_row(record: dict) -> ReferenceRow:
    return ReferenceRow(**{name: record[name] for name in FIELDS})


def to_sample(record: dict) -> Sample:
    """A sample; an annotation that cannot be read is missing in it, as no such sample would pass validation."""
    task = Task(record["task"])
    answer = record["answer"] or ""
    head, _, tail = answer.partition("\n")
    span_text = {Task.TEMPORAL_QA: answer, Task.TEMPORAL_MCQ: tail}.get(task)
    return Sample(
        id="golden",
        source="golden",
        task=task,
        question="",
        answer=answer,
        reasoning="",
        video_path=None,
        image_path=None,
        key_frames=_key_frames(record) if task == Task.TEMPORAL_SPATIAL else (),
        span_s=None if span_text is None else _span(span_text),
        box=_still_box(record) if task == Task.VISUAL_QA else None,
        letter=head.strip() if task in (Task.TEMPORAL_MCQ, Task.GENERAL_MCQ) else None,
    )


def to_completion(text: str | None, record: dict):
    size = record["image_size_refine"] if record["task"] == Task.VISUAL_QA else record["image_size"]
    return parse_completion(text, BoxScale(*size) if _is_size(size) else BoxScale(1, 1))


def _is_size(size) -> bool:
    return isinstance(size, list) and len(size) == 2 and all(side > 0 for side in size)


def _span(text: str):
    try:
        start, end = ast.literal_eval(text)
        return (start, end) if {type(start), type(end)} <= {int, float} else None
    except (ValueError, SyntaxError, TypeError):
        return None


def _still_box(record: dict):
    found = re.search(r"<box>(\[.*?\])</box>", record["answer"])
    sizes = record["image_size"], record["image_size_refine"]
    try:
        x1, y1, x2, y2 = json.loads(found.group(1))[:4] if found else ()
        return BoxScale(*sizes[0]).to_unit((x1, y1, x2, y2)) if all(map(_is_size, sizes)) else None
    except (ValueError, TypeError):
        return None


def _key_frames(record: dict):
    items = record["key_items"] or {}
    readable = _is_size(record["image_size"])
    return tuple(
        KeyFrame(frame["time"], {n: _boxes(b, readable) for n, b in items.get(str(frame["idx"]), {}).items()}, None)
        for frame in record["key_frames"] or ()
    )


def _boxes(boxes, readable: bool):
    return tuple(tuple(box) if readable else () for box in boxes)
