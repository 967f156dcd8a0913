"""A question of a benchmark, and what every benchmark answers about itself: one runner asks them all."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np

    from o3v.benchmarks.records import Record
    from o3v.benchmarks.statistics import Derived, Estimate
    from o3v.types import BoxScale, Span

DEFINITIONS = ("corrected", "reference")
"""`definition` of a benchmark: the default, or the released scripts' arithmetic with its defects."""


FRAMES = "<|vision_start|><|video_pad|><|vision_end|>"
"""In a question's text: where the frames go. A text without it stands behind the frames."""


@dataclass(frozen=True)
class Question:
    """One prompt of a benchmark; an annotated item may ask several.

    Attributes:
        id: unique in the benchmark, ITEM/KIND where an item asks several.
        source: the benchmark's name, or the data set that the item comes from.
        task: kind of question, in the benchmark's own words (`vqa`, `temporal_2`, `mcq`, ...).
        item: id of the annotated item.
        video_path: media file, as it can be opened.
        image_path: still picture where there is no video.
        span_s: the part of the file that is asked about; None for all of it.
        system: system text; "" for none.
        text: the user's text; see `FRAMES`.
        image_paths: further pictures that the text refers to, in order (VideoMMMU).
        truth: the annotation, as the benchmark's `score` reads it.
    """

    id: str
    source: str
    task: str
    item: str
    video_path: Path | None
    image_path: Path | None
    span_s: Span | None
    system: str
    text: str
    image_paths: tuple[Path, ...]
    truth: Mapping[str, Any]


@dataclass(frozen=True)
class ToJudge:
    """What a judge is asked about one answer.

    Attributes:
        question: what was asked.
        truth: the annotated answer.
        answer: the model's answer, without its reasoning.
        messages: the chat that a language model is sent, each `{"role": .., "content": ..}`.
    """

    question: str
    truth: str
    answer: str
    messages: tuple[Mapping[str, str], ...]


class Judged(Protocol):
    """What a benchmark offers beside `Benchmark` where some of its answers need a judge."""

    @property
    def judge_column(self) -> str:
        """Key of the judge's score in `Record.scores`."""

    def to_judge(self, question: Question, text: str) -> ToJudge | None:
        """What the judge is asked about an answer; None where there is nothing to judge."""

    def parse_judge(self, reply: str) -> int:
        """Score in a judge's reply; -1 where none can be read."""


class Benchmark(Protocol):
    """What the runner, the report and the command line need of a benchmark (conf/benchmark)."""

    @property
    def definition(self) -> str:
        """One of `DEFINITIONS`."""

    @property
    def name(self) -> str:
        """Prefix of its metrics, for example `vstar`."""

    @property
    def resamples(self) -> int:
        """Bootstrap draws of an interval."""

    @property
    def seed(self) -> int:
        """Seed of the draws."""

    @property
    def shown(self) -> tuple[str, ...]:
        """Columns of the main table, in order."""

    def check(self) -> None:
        """Look that annotations and media are there, before a model is loaded.

        Raises:
            ConfigError: names what is missing and where it was looked for.
        """

    def questions(self) -> list[Question]:
        """All questions, by id."""

    def score(self, question: Question, text: str, scale: BoxScale) -> dict[str, float]:
        """Named scores of an answer; a column is absent where it does not apply. `scale`: units of boxes in the text.

        A text that cannot be read scores 0. Scores that need a judge are added by `o3v.benchmarks.judge`.
        """

    def columns(self, records: Sequence[Record]) -> dict[str, np.ndarray]:
        """Name -> [N] values of the records, nan where a column does not apply."""

    def derived(self, names: Collection[str]) -> Derived:
        """Numbers made of the columns' means."""

    def summary(self, records: Sequence[Record]) -> dict[str, Estimate]:
        """Means of all columns and the numbers made of them, with intervals clustered by video."""

    def baselines(self) -> Mapping[str, Mapping[str, str]]:
        """Trivial answers: name of a baseline -> question id -> text (boxes in thousandths of the frame)."""
