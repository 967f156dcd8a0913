"""Reads golden reward lines and turns them into this project's inputs, bad annotations included."""

import functools
import gzip
import json
from pathlib import Path

from o3v.replay.format import read_group
from o3v.rewards.reference import ReferenceRow
from o3v.types import Completion, Sample

TERMS = ("ans_acc", "ans_tiou", "ans_viou", "thk_temporal_point", "thk_temporal_segment", "thk_spatial", "format")
SMALL = Path(__file__).parent / "golden" / "rewards.jsonl.gz"
FULL = Path(__file__).parents[3] / "shared" / "golden" / "rewards.jsonl.gz"


@functools.cache
def read_lines(path: Path) -> tuple[dict, ...]:
    with gzip.open(path, "rt") as lines:
        return tuple(json.loads(line) for line in lines)


def samples_of(line: dict) -> list[dict]:
    """One record a completion, whatever the layout."""
    return line["samples"] if line["layout"] == "batch" else [line] * len(line["completions"])


def to_row(record: dict) -> ReferenceRow:
    return _group(record, None).rows[0]


def to_sample(record: dict) -> Sample:
    """A sample; an annotation that cannot be read is missing in it, as no such sample would pass validation."""
    return _group(record, None).samples[0]


def to_completion(text: str | None, record: dict) -> Completion:
    return _group(record, text).completions[0]


def _group(record: dict, text: str | None):
    return read_group({"id": "golden", **record, "layout": "single_sample", "completions": [text]}, "golden")
