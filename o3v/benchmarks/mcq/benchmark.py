"""What every multiple-choice benchmark does alike: ask, score, average by field, answer without looking.

The columns of a record, each between 0 and 1:

    acc                  right; an answer that cannot be read is wrong and stays in the denominator
    acc@FIELD=VALUE      the same for the questions with this value of a field
    parsed               a letter of the options (for open questions any answer) could be read
    chance               what a letter drawn from the options is worth; 0 for open questions
    coverage             the media could be read
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from o3v.benchmarks.mcq.letters import Parser, answer_text, read_letter, released_path, released_vote
from o3v.benchmarks.mcq.prompts import FORMS, own_system, own_text
from o3v.benchmarks.mcq.rows import ChoiceRow, check_choice
from o3v.benchmarks.mcq.saved import read_answers
from o3v.benchmarks.open_answer import is_right, read_parts, released_is_right
from o3v.benchmarks.question import DEFINITIONS, Question
from o3v.benchmarks.records import Identity, Record, make_record
from o3v.benchmarks.statistics import Derived, Estimate, estimate_columns
from o3v.benchmarks.trivial import letter_baselines
from o3v.benchmarks.versions import versions_of
from o3v.errors import ConfigError, DataError
from o3v.grounding.render import render_target
from o3v.types import BoxScale

Key = TypeVar("Key", bound=Hashable)


class Settings(Protocol):
    """The configured values that every multiple-choice benchmark has."""

    @property
    def definition(self) -> str:
        """`corrected` or `reference`."""

    @property
    def prompt(self) -> str:
        """`own` or `reference`."""

    @property
    def think(self) -> bool:
        """Whether the prompt asks for think and answer blocks."""

    @property
    def resamples(self) -> int:
        """Bootstrap draws."""


def check_settings(settings: Settings) -> None:
    """Raises ConfigError for values that are not allowed, or do not go together."""
    check_choice("definition", settings.definition, DEFINITIONS)
    check_choice("prompt", settings.prompt, FORMS)
    if settings.prompt == "own" and not settings.think:
        raise ConfigError("benchmark.think=false: the project's own prompt always asks for think and answer blocks")
    if settings.resamples < 1:
        raise ConfigError(f"benchmark.resamples={settings.resamples}: must be at least 1")


def accuracy_by(rights: Sequence[float], groups: Sequence[Iterable[Key]]) -> dict[Key, float]:
    """Mean of 0/1 scores by group; a score may belong to several groups.

    >>> accuracy_by([1, 0, 1], [["a"], ["a", "b"], ["b"]])
    {'a': 0.5, 'b': 0.5}
    """
    members: dict[Key, list[float]] = {}
    for right, keys in zip(rights, groups, strict=True):
        for key in keys:
            members.setdefault(key, []).append(right)
    return {key: sum(scores) / len(scores) for key, scores in members.items()}


class ChoiceBenchmark(ABC):
    """The `Benchmark` protocol over annotated rows; a subclass is a frozen dataclass that knows its files and wording.

    It holds no state: the configured values are the subclass's fields, the rows are read once, when first needed.
    """

    definition: str
    prompt: str
    think: bool
    seed: int
    resamples: int

    @property
    @abstractmethod
    def name(self) -> str:
        """Prefix of its metrics."""

    @property
    @abstractmethod
    def parser(self) -> Parser:
        """Whose patterns read letters that are not clear."""

    @property
    @abstractmethod
    def allowed(self) -> str:
        """Letters that the released runner counts."""

    @abstractmethod
    def read_rows(self) -> tuple[ChoiceRow, ...]:
        """The annotated questions by id."""

    @abstractmethod
    def reference_text(self, row: ChoiceRow) -> str:
        """The released prompt text."""

    @abstractmethod
    def check(self) -> None:
        """Look that annotations and media are there. Raises ConfigError, DataError."""

    def own_text(self, row: ChoiceRow) -> str:
        """The user's text in the project's own form."""
        return own_text(row, "")

    def groups(self, row: ChoiceRow) -> list[tuple[str, str]]:
        """(field, value) pairs under which the row's accuracy is averaged."""
        return [(field, value) for field, values in row.fields.items() for value in values]

    @cached_property
    def rows(self) -> tuple[ChoiceRow, ...]:
        """The annotated questions by id."""
        return self.read_rows()

    @cached_property
    def row_of(self) -> dict[str, ChoiceRow]:
        """Question id -> row."""
        return {row.id: row for row in self.rows}

    def questions(self) -> list[Question]:
        """All questions, by id."""
        return [self._question(row) for row in self.rows]

    def read_answer(self, question: Question, text: str) -> str | None:
        """What is counted of an answer, for a vote over several: the letter, or what an open answer may mean.

        Args:
            question: what was asked.
            text: the model's text.

        Returns:
            None where nothing can be read. In the reference definition the letter of the released runner.
        """
        row = self._row(question.id)
        if row.kind == "open":
            answer = text if self._released else answer_text(text)
            return " | ".join(str(part) for part in read_parts(answer)) or None
        if self._released:
            return released_path(text, row.options, self.parser, self.think, self.allowed)
        letter = read_letter(text, row.options, self.parser)
        return letter if letter in row.letters else None

    def score(self, question: Question, text: str, scale: BoxScale) -> dict[str, float]:
        """`acc` and `parsed` of an answer; `scale` is not used.

        In the reference definition a choice is what the released runner makes of one path, see `released_vote`.
        """
        row = self._row(question.id)
        letter = self.read_answer(question, text)
        if row.kind == "open":
            right = released_is_right(text, row.answer) if self._released else is_right(text, row.answer)
        elif self._released:
            right = released_vote(text, row.options, self.parser, self.think, self.allowed) == row.answer
        else:
            right = letter == row.answer
        return {"acc": float(right), "parsed": float(letter is not None)}

    def columns(self, records: Sequence[Record]) -> dict[str, np.ndarray]:
        """Name -> [N] values of the records, nan where a column does not apply.

        Raises:
            DataError: a record of a question that the benchmark does not have.
        """
        table = [self._columns_of(record) for record in records]
        names = dict.fromkeys(name for row in table for name in row)
        return {name: np.array([row.get(name, np.nan) for row in table], dtype=float) for name in names}

    def derived(self, names: Collection[str]) -> Derived:
        """Nothing is made of the columns' means."""
        return {}

    def summary(self, records: Sequence[Record]) -> dict[str, Estimate]:
        """Means of all columns, with intervals clustered by video."""
        videos = [record.video for record in records]
        return estimate_columns(self.columns(records), videos, {}, self.resamples, self.seed)

    def records_of(self, path: Path, judge_scores: Path | None) -> list[Record]:
        """Records of another program's answers, see `o3v.benchmarks.mcq.saved`; questions without one are wrong.

        Args:
            path: the answers.
            judge_scores: not used: letters need no judge.

        Raises:
            DataError: a file that cannot be read, or answers to other questions.
        """
        answers = read_answers(path)
        questions = self.questions()
        unknown = sorted(answers.keys() - self.row_of.keys())
        if unknown:
            raise DataError(f"{path}: {len(unknown)} answers to questions that {self.name} lacks: {unknown[0]!r}, ...")
        identity, versions = Identity(path.stem, "", 0), versions_of(self, self.definition)
        scale = BoxScale(1, 1)
        records = []
        for question in questions:
            text = answers.get(question.id, "")
            error = None if question.id in answers else "no answer in the file"
            scores = self.score(question, text, scale)
            records.append(make_record(question, identity, None, text, scores, error, versions))
        return records

    def baselines(self) -> Mapping[str, Mapping[str, str]]:
        """Answers without looking: `majority_letter`, `random_letter`, `longest_option` and the empty `no_answer`.

        The majority letter is the most frequent truth of the benchmark itself, so it bounds every constant letter.
        """
        choices = {row.id: row for row in self.rows if row.kind == "choice"}
        options = {key: row.letters for key, row in choices.items()}
        found = letter_baselines(options, {key: row.answer for key, row in choices.items()}, self.seed)
        longest = {key: render_target("", _longest(row)) for key, row in choices.items()}
        texts = {**found, "longest_option": longest}
        if not self.think:
            texts = {name: {key: answer_text(text) for key, text in of.items()} for name, of in texts.items()}
        return {**texts, "no_answer": dict.fromkeys(self.row_of, "")}

    @property
    def _released(self) -> bool:
        return self.definition == "reference"

    def _question(self, row: ChoiceRow) -> Question:
        own = self.prompt == "own"
        return Question(
            id=row.id,
            source=self.name,
            task="open" if row.kind == "open" else "mcq",
            item=row.item,
            video_path=row.video,
            image_path=None,
            span_s=None,
            system=own_system(row) if own else "",
            text=self.own_text(row) if own else self.reference_text(row),
            image_paths=row.pictures,
            truth={"answer": row.answer, "options": row.letters, "kind": row.kind, "fields": dict(row.fields)},
        )

    def _row(self, question_id: str) -> ChoiceRow:
        row = self.row_of.get(question_id)
        if row is None:
            raise DataError(f"{self.name} has no question {question_id!r}")
        return row

    def _columns_of(self, record: Record) -> dict[str, float]:
        row = self._row(record.sample_id)
        chance = 1 / len(row.options) if row.kind == "choice" else 0.0
        columns = {**record.scores, "chance": chance, "coverage": float(record.error is None)}
        if "acc" in columns:
            columns |= {f"acc@{field}={value}": columns["acc"] for field, value in self.groups(row)}
        return columns


def _longest(row: ChoiceRow) -> str:
    """Letter of the longest option, the first of equals."""
    return max(zip(row.letters, row.options, strict=True), key=lambda pair: len(pair[1]))[0]
