"""Saved answers to TVGBench in the format of Time-R1's evaluator."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from o3v.benchmarks.question import Question
from o3v.benchmarks.records import Identity, Record, make_record
from o3v.benchmarks.versions import versions_of
from o3v.errors import DataError
from o3v.grounding.render import render_span
from o3v.types import BoxScale

if TYPE_CHECKING:
    from o3v.benchmarks.tvgbench import TvgBench

SCALE = BoxScale(1, 1)
"""TVGBench's answers hold no boxes."""


def read_time_r1(path: Path, benchmark: TvgBench) -> list[Record]:
    """JSON lines {qid: "SOURCE_NUMBER", pred: [start, end] or nulls, output_text}, one an answer.

    The number at the end of `qid` is the row's. What was written counts; `pred` only where there is no `output_text`.

    Raises:
        DataError: a line that is none of these; names file and line.
    """
    questions = {question.id: question for question in benchmark.questions()}
    versions = versions_of(benchmark, benchmark.definition)
    identity = Identity(path.stem, "", 0)
    records = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip():
            question, text = _answer(line, questions, f"{path}:{number}")
            scores = benchmark.score(question, text, SCALE)
            records.append(make_record(question, identity, None, text, scores, None, versions, SCALE))
    return records


def _answer(line: str, questions: dict[str, Question], place: str) -> tuple[Question, str]:
    try:
        row = json.loads(line)
        question = questions[f"{int(str(row['qid']).rpartition('_')[2]):04d}"]
        return question, _text(row)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{place}: not an answer in the format of Time-R1 ({type(error).__name__}: {error})") from error


def _text(row: dict[str, Any]) -> str:
    written = row.get("output_text")
    if isinstance(written, str):
        return written
    start_s, end_s = row["pred"]
    return "" if start_s is None or end_s is None else render_span((float(start_s), float(end_s)), None)
