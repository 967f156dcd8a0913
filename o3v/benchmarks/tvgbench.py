"""TVGBench (Time-R1, arXiv:2503.13377): when does a described event happen? 800 queries on five data sets.

`tvgbench.json` is a list of rows {path, question, answer "start-end", start, end, duration, qsemtype, bins, ...}. Where
`start` and `end` are given, the video is that part of the file, and times count from its start.

The columns of a record, each between 0 and 1:

    tiou          of the answered segment with the annotated one
    R1@tIoU=x     1 where tiou > x (strictly, as in Time-R1's evaluator)
    read          1 where a segment could be read from the answer

An answer that cannot be read scores 0 and stays in every denominator.

Eleven rows are annotated with a segment of no length, which no answer can meet. `definition=corrected` leaves them out
of tiou and R1 (789 rows); `definition=reference` counts them as 0, and reads answers by the reference's rule: the last
`a to b` or `a and b` anywhere in the text, reasoning included. Time-R1's script counts only videos that it finds on
disk; here a missing video is a wrong answer in both definitions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from o3v.benchmarks.question import DEFINITIONS, Question
from o3v.benchmarks.records import Record
from o3v.benchmarks.statistics import Derived, Estimate, estimate_columns
from o3v.benchmarks.trivial import span_baselines
from o3v.benchmarks.vstar.parsers import read_times
from o3v.errors import ConfigError, DataError
from o3v.grounding.spans import tiou
from o3v.prompts.system import SYSTEM_TEXTS
from o3v.types import BoxScale, Span, Task

THRESHOLDS = (0.3, 0.5, 0.7)
"""Of R1@tIoU; a tIoU equal to the threshold does not count."""

SHOWN = ("mIoU", *(f"R1@tIoU={threshold}" for threshold in THRESHOLDS), "read", "coverage")
"""Columns of a report, in this order."""

_TAG = re.compile(r"</?t>s?")
_NUMBERS = re.compile(r"(\d+\.?\d*) (?:to|and) (\d+\.?\d*)")
_ANSWER = re.compile(r"\s*(\d+(?:\.\d+)?)\s*-\s*(\d+(?:\.\d+)?)\s*")


@dataclass(frozen=True)
class TvgRow:
    """One query.

    Attributes:
        video: file name of the video.
        query: the described event.
        span_s: annotated segment, seconds from the start of the part.
        part_s: the part of the file that is the video; None for all of it.
        duration_s: length of the video.
        dataset: charades, anet, tacos, hirest or egonlq.
        kind: of query, for example `Human Pose`.
    """

    video: str
    query: str
    span_s: Span
    part_s: Span | None
    duration_s: float
    dataset: str
    kind: str

    @property
    def has_length(self) -> bool:
        """Whether the annotated segment has a length."""
        return self.span_s[1] > self.span_s[0]


@dataclass(frozen=True)
class TvgBench:
    """TVGBench as a `Benchmark`.

    Attributes:
        root: folder with the annotation file and the videos (configuration: paths.benchmark_root/tvgbench).
        annotation_file: relative to `root`.
        video_folder: relative to `root`; holds the files that rows name.
        definition: `corrected` or `reference`.
        resamples: bootstrap draws of an interval.
        seed: of the draws.
    """

    root: str
    annotation_file: str
    video_folder: str
    definition: str
    resamples: int
    seed: int

    def __post_init__(self) -> None:
        """Reject an unknown definition."""
        if self.definition not in DEFINITIONS:
            raise ConfigError(f"benchmark.definition={self.definition!r}: allowed are {list(DEFINITIONS)}")

    @property
    def name(self) -> str:
        """Prefix of its metrics."""
        return "tvgbench"

    @property
    def shown(self) -> tuple[str, ...]:
        """Columns of the main table, in order."""
        return SHOWN

    def check(self) -> None:
        """Look for the annotation file and every video. Raises ConfigError or DataError."""
        folder = Path(self.root) / self.video_folder
        wanted = sorted({row.video for row in self.rows})
        missing = [name for name in wanted if not (folder / name).is_file()]
        if missing:
            raise ConfigError(
                f"{folder}: {len(missing)} of {len(wanted)} videos are missing, for example {missing[0]}; set "
                "paths.benchmark_root or O3V_BENCHMARKS to the folder that holds tvgbench/"
            )

    def questions(self) -> list[Question]:
        """One question a row; its id is the number of the row, as rows have none."""
        return [self._question(number, row) for number, row in enumerate(self.rows)]

    def score(self, question: Question, text: str, scale: BoxScale) -> dict[str, float]:
        """tiou, R1@ and whether a segment was read; see the head of this file."""
        is_reference = self.definition == "reference"
        found = read_reference_span(text) if is_reference else read_answer_span(text)
        scores = {"read": float(found is not None)}
        if is_reference or question.truth["has_length"]:
            value = tiou(found, question.truth["span_s"]) if found is not None else 0.0
            scores["tiou"] = value
            scores |= {f"R1@tIoU={threshold}": float(value > threshold) for threshold in THRESHOLDS}
        return scores

    def columns(self, records: Sequence[Record]) -> dict[str, np.ndarray]:
        """Name -> [N] values, nan where a row is left out; `mIoU@<data set>` and `coverage` beside the scores."""
        rows = [_columns_of(record) for record in records]
        names = sorted({name for row in rows for name in row})
        return {name: np.array([row.get(name, np.nan) for row in rows], dtype=float) for name in names}

    def derived(self, names: Collection[str]) -> Derived:
        """None: every number is a mean."""
        return {}

    def summary(self, records: Sequence[Record]) -> dict[str, Estimate]:
        """Means of all columns with intervals clustered by video."""
        videos = [record.video for record in records]
        return estimate_columns(self.columns(records), videos, {}, self.resamples, self.seed)

    def baselines(self) -> Mapping[str, Mapping[str, str]]:
        """The whole video, and its middle third."""
        return span_baselines({question.id: question.truth["duration_s"] for question in self.questions()})

    def records_of(self, path: Path, judge_scores: Path | None) -> list[Record]:
        """Answers in the format of Time-R1's evaluator. Raises DataError. See `read_time_r1`."""
        from o3v.benchmarks.tvgbench_predictions import read_time_r1

        return read_time_r1(path, self)

    @cached_property
    def rows(self) -> tuple[TvgRow, ...]:
        """The rows of the annotation file. Raises ConfigError where it is missing, DataError where it is broken."""
        return read_tvgbench(Path(self.root) / self.annotation_file)

    def _question(self, number: int, row: TvgRow) -> Question:
        key = f"{number:04d}"
        return Question(
            id=key,
            source=row.dataset,
            task=row.kind,
            item=key,
            video_path=Path(self.root) / self.video_folder / row.video,
            image_path=None,
            span_s=row.part_s,
            system=SYSTEM_TEXTS[Task.TEMPORAL_QA],
            text=f'When does this happen in the video: "{row.query}"?',
            image_paths=(),
            truth={"span_s": row.span_s, "duration_s": row.duration_s, "has_length": row.has_length},
        )


def read_answer_span(text: str) -> Span | None:
    """The segment that an answer names: two `<t>` tags, or the only two times in its answer; None without.

    >>> read_answer_span("<think>at 3 s</think><answer>From <t>2.0</t>s to <t>4.5</t>s</answer>")
    (2.0, 4.5)
    >>> read_answer_span("From 3.0s to 8.5s"), read_answer_span("soon")
    ((3.0, 8.5), None)
    """
    times = read_times(text)
    return (times[0], times[1]) if len(times) == 2 else None


def read_reference_span(text: str) -> Span | None:
    """By the rule of Time-R1's evaluator: the last `a to b` or `a and b` of the whole text, time tags taken out.

    >>> read_reference_span("between 1 and 2, no: <answer>From <t>2.0</t>s to <t>4.5</t>s</answer>")
    (2.0, 4.5)
    >>> read_reference_span("From 3.0s to 8.5s") is None
    True
    """
    found = _NUMBERS.findall(_TAG.sub("", text))
    return (float(found[-1][0]), float(found[-1][1])) if found else None


def read_tvgbench(path: Path) -> tuple[TvgRow, ...]:
    """Rows of the annotation file as published, in its order.

    Raises:
        ConfigError: no such file.
        DataError: not JSON, or a row that lacks a field or has an unreadable one; names the row.
    """
    if not path.is_file():
        raise ConfigError(
            f"no file {path}: TVGBench's annotations (github.com/xiaomi-research/time-r1); set paths.benchmark_root or "
            "O3V_BENCHMARKS to the folder that holds tvgbench/"
        )
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: not JSON ({error})") from error
    if not isinstance(rows, list) or not rows:
        raise DataError(f"{path}: wanted a JSON list of rows")
    return tuple(_row(row, f"{path}, row {number}") for number, row in enumerate(rows))


def _row(row: Any, place: str) -> TvgRow:
    try:
        start_s, end_s = row["start"], row["end"]
        return TvgRow(
            video=Path(row["path"]).name,
            query=str(row["question"]).strip(),
            span_s=_span(row["answer"]),
            part_s=None if start_s is None or end_s is None else (float(start_s), float(end_s)),
            duration_s=float(row["duration"]),
            dataset=str(row.get("dataset_name") or row["bins"]["dataset"]),
            kind=str(row["qsemtype"]),
        )
    except KeyError as error:
        raise DataError(f"{place}: no field {error}") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{place}: not a row of TVGBench ({error})") from error


def _span(answer: Any) -> Span:
    """Start and end of an annotation such as `13.4-28.1`."""
    match = _ANSWER.fullmatch(str(answer))
    if match is None:
        raise ValueError(f"answer {answer!r} is not 'start-end'")
    return float(match[1]), float(match[2])


def _columns_of(record: Record) -> dict[str, float]:
    row = {**record.scores, "coverage": float(record.error is None)}
    if "tiou" in row:
        row["mIoU"] = row[f"mIoU@{record.source}"] = row.pop("tiou")
    return row
