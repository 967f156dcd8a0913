"""TimeRFT (Time-R1, arXiv:2503.13377): 2,500 rows "when does this happen?", the source of STGR's `timerft`.

A row is {video, duration, timestamp: [start, end], sentence, qid, video_start, video_end, difficulty, pred}. `video` is
a path of the authors' machine: its file name is looked for below the configured folder. Where `video_start` and
`video_end` are given, the file is that part of a longer film, already cut (the length is theirs), so that times count
from the file's start.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Final

from o3v.data.faults import Fault, check_share
from o3v.data.rows import RowError, check_span, is_number, short_value
from o3v.data.stgr import place_fault
from o3v.errors import DataError
from o3v.grounding.render import render_span
from o3v.types import Sample, Span, Task

SOURCE: Final = "timerft"
"""The source under which STGR publishes these rows."""


@dataclass(frozen=True)
class TimeRftDataset:
    """The annotation file as a data set, read at first use.

    Attributes:
        root: the folder that holds both of the following.
        annotation_file: relative to `root`.
        video_folder: of the video files, relative to `root`.
        max_fault_share: share of faulty rows above which `samples` stops, 0 to 1.
    """

    root: str | Path
    annotation_file: str
    video_folder: str
    max_fault_share: float

    def samples(self) -> list[Sample]:
        """The valid rows.

        Raises:
            DataError: no such file, no JSON list, or too many faulty rows.
        """
        rows = self._rows
        faults = [row for row in rows if isinstance(row, Fault)]
        check_share(faults, len(rows), self.max_fault_share, str(self.path))
        return [row for row in rows if isinstance(row, Sample)]

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The rows that `samples` leaves out."""
        return tuple(row for row in self._rows if isinstance(row, Fault))

    @property
    def path(self) -> Path:
        """The annotation file."""
        return Path(self.root) / self.annotation_file

    @cached_property
    def _rows(self) -> tuple[Sample | Fault, ...]:
        if not self.path.is_file():
            raise DataError(f"no file {self.path}; set data.dataset.root to the folder that holds TimeRFT's rows")
        try:
            rows = json.loads(self.path.read_text(encoding="utf-8-sig"))
        except (ValueError, RecursionError) as error:
            raise DataError(f"{self.path}: cannot be read as JSON ({error})") from error
        if not isinstance(rows, list) or not rows:
            raise DataError(f"{self.path}: wanted a JSON list of rows at the top")
        return tuple(self._read(row, f"row-{number}") for number, row in enumerate(rows, start=1))

    def _read(self, row: Any, sample_id: str) -> Sample | Fault:
        folder = Path(self.root) / self.video_folder
        try:
            sample = read_timerft_row(row, sample_id, folder)
        except RowError as error:
            return Fault(sample_id, SOURCE, "row", str(error))
        assert sample.video_path is not None, "every row has a video"
        found = place_fault(sample.video_path, Path(self.root), folder)
        return Fault(sample_id, SOURCE, found[0], f"video: {found[1]}") if found else sample


def read_timerft_row(row: object, sample_id: str, video_folder: Path) -> Sample:
    """Validate a row and make its sample: a temporal QA row as STGR publishes it.

    Args:
        row: as published.
        sample_id: unique id.
        video_folder: holds the files; whether the file exists is not looked at here.

    Raises:
        RowError: naming the field, the value and what would be allowed.
    """
    if not isinstance(row, Mapping):
        raise RowError("row", f"{short_value(row)}, wanted an object")
    span_s = check_span("timestamp", published_span(row))
    return Sample(
        id=sample_id,
        source=SOURCE,
        task=Task.TEMPORAL_QA,
        question=f'When does this happen in the video: "{_text(row, "sentence").strip()}"?',
        answer=render_span(span_s, None),
        reasoning="",
        video_path=video_folder / _file_name(row),
        image_path=None,
        key_frames=(),
        span_s=span_s,
        box=None,
        letter=None,
    )


def published_span(row: Mapping[str, Any]) -> Span:
    """The two numbers of `timestamp`, in whatever order.

    >>> published_span({"timestamp": [1.0, 4.0]})
    (1.0, 4.0)

    Raises:
        RowError: they are not two numbers.
    """
    value = row.get("timestamp")
    if not (isinstance(value, list) and len(value) == 2 and all(is_number(number) for number in value)):
        raise RowError("timestamp", f"{short_value(value)}, wanted [start, end] in seconds")
    return float(value[0]), float(value[1])


def published_duration(row: Mapping[str, Any]) -> float:
    """Length of the clip in seconds.

    Raises:
        RowError: no number above 0.
    """
    value = row.get("duration")
    if not is_number(value) or value <= 0:
        raise RowError("duration", f"{short_value(value)}, wanted seconds above 0")
    return float(value)


def _file_name(row: Mapping[str, Any]) -> str:
    name = PurePosixPath(_text(row, "video")).name
    if not name or name == ".." or "\0" in name:
        raise RowError("video", f"{short_value(row.get('video'))}, wanted the path of a file")
    return name


def _text(row: Mapping[str, Any], field: str) -> str:
    value = row.get(field)
    if not isinstance(value, str) or not value.strip():
        raise RowError(field, f"{short_value(value)}, wanted a text that is not empty")
    return value
