"""The text of one row -> what is wrong with it by itself, and what later steps need of it; runs in workers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

from o3v.data.rows import RowError, media_folder, read_row, short_value
from o3v.data.timerft import published_duration, published_span, read_timerft_row
from o3v.datacheck.facts import RowFacts, unknown_row
from o3v.datacheck.findings import Fact
from o3v.datacheck.row_rules import row_facts
from o3v.datacheck.tokens import count_tokens
from o3v.grounding.render import render_target, rewrite_boxes
from o3v.prompts.system import SYSTEM_TEXTS
from o3v.types import BoxScale, Sample, Task

Form = Literal["stgr", "timerft"]

THOUSANDTHS: Final = BoxScale(1000, 1000)
"""Units in which boxes of the text to learn are counted."""


@dataclass(frozen=True)
class Limits:
    """What the rules allow.

    Attributes:
        reasoning_time_s: between a time of the reasoning and the key frame that it means.
        reasoning_box: between the sides of a box of the reasoning and of the annotated one, as a share of the frame.
        large_box: largest share of the frame that a box may cover.
        key_frame_s: behind the end of the clip (the reader takes 1 s).
        span_s: behind the end of the clip.
        duration_s: between the published length and that of the file.
    """

    reasoning_time_s: float
    reasoning_box: float
    large_box: float
    key_frame_s: float
    span_s: float
    duration_s: float


@dataclass(frozen=True)
class RowSettings:
    """How rows are read.

    Attributes:
        form: whose rows they are.
        root: data root.
        folder: of the videos, for forms without a folder of each source.
        limits: of the rules.
        tokenizer: tokenizer.json by which text is counted; None: estimated.
    """

    form: Form
    root: str
    folder: str
    limits: Limits
    tokenizer: str | None


def read_batch(job: tuple[RowSettings, list[str]]) -> list[dict[str, Any]]:
    """Facts of some rows, as they are remembered; the work of a worker."""
    settings, texts = job
    return [read_facts(text, settings).as_dict() for text in texts]


def read_facts(text: str, settings: RowSettings) -> RowFacts:
    """Facts of a row; whatever the row is, there are some.

    Args:
        text: JSON, as far as the file's scan could tell.
        settings: form, places and limits.
    """
    try:
        row = json.loads(text)
        return _read(row, settings)
    except (ValueError, RecursionError) as error:
        return unknown_row(Fact("unreadable", f"row: cannot be read ({type(error).__name__}: {error})"))


def _read(row: object, settings: RowSettings) -> RowFacts:
    if not isinstance(row, Mapping):
        return unknown_row(Fact("unreadable", f"row: {short_value(row)}, wanted an object"))
    name = _published_id(row)
    try:
        if settings.form == "timerft":
            return replace(_timerft(row, settings), id=name)
        return replace(_stgr(row, settings), id=name)
    except RowError as error:
        fact = Fact(error.kind, str(error))
        return unknown_row(fact, name, _word(row.get("source")), _word(row.get("task")))


def _stgr(row: Mapping[str, Any], settings: RowSettings) -> RowFacts:
    root = Path(settings.root)
    sample = read_row(row, "", root)
    facts = _of_sample(sample, row, settings)
    folder = root / media_folder(sample.source, facts.is_image)
    size = row.get("image_size") if sample.task is Task.VISUAL_QA else None
    return replace(
        facts,
        folder=str(folder),
        image_size_px=(float(size[0]), float(size[1])) if size else None,
        pictures=tuple(str(frame.image_path) for frame in sample.key_frames if frame.image_path),
        facts=tuple(row_facts(row, sample, settings.limits)),
    )


def _timerft(row: Mapping[str, Any], settings: RowSettings) -> RowFacts:
    folder = Path(settings.root) / settings.folder
    span_s, duration_s = published_span(row), published_duration(row)
    sample = read_timerft_row(row, "", folder)
    facts = _of_sample(sample, row, settings)
    return replace(facts, folder=str(folder), span_s=span_s, duration_s=duration_s)


def _of_sample(sample: Sample, row: Mapping[str, Any], settings: RowSettings) -> RowFacts:
    path = sample.image_path or sample.video_path
    return RowFacts(
        id="",
        source=sample.source,
        task=str(sample.task),
        media=str(path),
        folder=None,
        is_image=sample.video_path is None,
        pictures=(),
        key_times_s=tuple(frame.time_s for frame in sample.key_frames),
        span_s=sample.span_s,
        part_s=None,
        duration_s=None,
        image_size_px=None,
        content=_digest({key: value for key, value in row.items() if key not in ("id", "qid")}),
        question=_digest([sample.question.strip(), str(path)]),
        prompt_tokens=count_tokens(f"{SYSTEM_TEXTS[sample.task]} {sample.question}", settings.tokenizer),
        answer_tokens=_answer_tokens(sample, settings.tokenizer),
        facts=(),
    )


def _answer_tokens(sample: Sample, tokenizer: str | None) -> int:
    if not sample.reasoning:
        return 0
    text = rewrite_boxes(render_target(sample.reasoning, sample.answer), THOUSANDTHS.to_model)
    return count_tokens(text, tokenizer)


def _published_id(row: Mapping[str, Any]) -> str:
    value = row.get("id", row.get("qid"))
    return str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""


def _word(value: object) -> str:
    return value if isinstance(value, str) and 0 < len(value) <= 80 else "?"


def _digest(value: object) -> str:
    return hashlib.sha1(json.dumps(value, sort_keys=True).encode(), usedforsecurity=False).hexdigest()
