"""The paths of every question in a file of JSON lines, so that they are drawn once and voted on under any rule."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path as FilePath
from typing import Any

from o3v.benchmarks.voting.paths import Path
from o3v.errors import DataError
from o3v.types import Claim

PATTERN = "paths*.jsonl"
"""Names of such files in a result's folder, one a worker."""


@dataclass(frozen=True)
class VoteRecord:
    """One question with its paths.

    Attributes:
        sample_id: id of the question.
        video: its media file: the unit of the intervals.
        paths: what votes need of the texts.
        texts: the texts themselves, one a path.
        scores: name of a score of the benchmark -> what it gives each path's text, one a path; no answer scores 0.
    """

    sample_id: str
    video: str
    paths: tuple[Path, ...]
    texts: tuple[str, ...]
    scores: Mapping[str, tuple[float, ...]]


def to_line(record: VoteRecord) -> str:
    """A record as one line of JSON with its newline."""
    return json.dumps(asdict(record), ensure_ascii=False) + "\n"


def read_votes(files: Iterable[FilePath]) -> list[VoteRecord]:
    """Records of several files by question id; of two about one question the later line counts (a run that went on).

    A last line without newline (the writer was killed) is left out.

    Raises:
        DataError: a complete line that is no such record; names file and line.
    """
    found: dict[str, VoteRecord] = {}
    for file in files:
        *lines, _ = file.read_bytes().split(b"\n")
        for number, line in enumerate(lines, start=1):
            record = _from_line(line, f"{file}:{number}")
            found[record.sample_id] = record
    return [found[key] for key in sorted(found)]


def _from_line(line: bytes, place: str) -> VoteRecord:
    try:
        fields: dict[str, Any] = json.loads(line)
        return VoteRecord(
            fields["sample_id"],
            fields["video"],
            tuple(_path(path) for path in fields["paths"]),
            tuple(fields["texts"]),
            {name: tuple(values) for name, values in fields["scores"].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{place}: not the paths of a question ({type(error).__name__}: {error})") from error


def _path(fields: dict[str, Any]) -> Path:
    return Path(**(fields | {"claims": tuple(_claim(claim) for claim in fields["claims"])}))


def _claim(fields: dict[str, Any]) -> Claim:
    boxes = tuple((float(x1), float(y1), float(x2), float(y2)) for x1, y1, x2, y2 in fields["boxes"])
    return Claim(fields["name"], boxes, fields["time_s"])
