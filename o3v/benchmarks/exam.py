"""What is asked and how answers are scored: made of a benchmark, used by the runner and by saved answers alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from o3v.benchmarks.question import Benchmark, Question
from o3v.benchmarks.records import Identity, Record, TextScorer, Versions, make_record
from o3v.benchmarks.versions import versions_of
from o3v.errors import DataError
from o3v.types import BoxScale

THOUSANDTHS = BoxScale(1000, 1000)
"""Units of the boxes in the texts of `Benchmark.baselines`."""


@dataclass(frozen=True)
class Exam:
    """Questions and the way to score them.

    Attributes:
        questions: by id.
        score: scores of an answer's text.
        versions: written into every record.
        judge_column: the score that `score` does not give because it needs a judge; None without one.
    """

    questions: tuple[Question, ...]
    score: TextScorer
    versions: Versions
    judge_column: str | None = None

    def __post_init__(self) -> None:
        """Reject two questions with one id."""
        seen: set[str] = set()
        for question in self.questions:
            if question.id in seen:
                raise DataError(
                    f"question id {question.id!r} occurs twice (source {question.source!r}); ids must be unique"
                )
            seen.add(question.id)

    @property
    def by_id(self) -> dict[str, Question]:
        """The questions under their ids, in the order of the ids."""
        return {question.id: question for question in sorted(self.questions, key=lambda question: question.id)}


def exam_of(benchmark: Benchmark) -> Exam:
    """The exam of a benchmark.

    Raises:
        DataError: two questions with one id.
    """
    versions = versions_of(benchmark, benchmark.definition)
    judge_column = getattr(benchmark, "judge_column", None)
    return Exam(tuple(benchmark.questions()), benchmark.score, versions, judge_column)


def score_texts(exam: Exam, texts: Mapping[str, str], identity: Identity) -> list[Record]:
    """Records of given answers, by id; a question without one is answered with the empty text, which scores 0.

    Args:
        exam: what is asked.
        texts: question id -> answer, boxes in thousandths of the frame.
        identity: who answered.

    Raises:
        DataError: an answer to a question that does not exist.
    """
    unknown = sorted(texts.keys() - exam.by_id.keys())
    if unknown:
        raise DataError(f"answers of {identity.model} to {len(unknown)} unknown questions, for example {unknown[0]!r}")
    return [_scored(exam, question, texts.get(key, ""), identity) for key, question in exam.by_id.items()]


def score_again(exam: Exam, records: Sequence[Record]) -> list[Record]:
    """Saved answers under this exam's scores, by id; a judge's scores are kept.

    Questions without an answer become wrong ones, with the cause.

    Raises:
        DataError: an answer to a question that does not exist, or two answers to one.
    """
    saved: dict[str, Record] = {}
    for record in records:
        if record.sample_id in saved:
            raise DataError(f"two answers to question {record.sample_id!r}")
        saved[record.sample_id] = record
    unknown = sorted(saved.keys() - exam.by_id.keys())
    if unknown:
        raise DataError(f"{len(unknown)} answers to questions of another benchmark, for example {unknown[0]!r}")
    if not saved:
        raise DataError("no answers to score")
    identity = records[0].identity
    return [_again(exam, question, saved.get(key), identity) for key, question in exam.by_id.items()]


def baseline_results(benchmark: Benchmark, exam: Exam) -> dict[str, list[Record]]:
    """Records of a benchmark's trivial answers: name -> records by id.

    A benchmark that weighs several answers to a question (a random one) gives its records itself, as
    `baseline_records()`.
    """
    weighted = getattr(benchmark, "baseline_records", None)
    if weighted is not None:
        results: dict[str, list[Record]] = weighted()
        return results
    return {
        name: score_texts(exam, texts, Identity(f"baseline/{name}", "", 0))
        for name, texts in benchmark.baselines().items()
    }


def _scored(exam: Exam, question: Question, text: str, identity: Identity) -> Record:
    scores = exam.score(question, text, THOUSANDTHS)
    return make_record(question, identity, None, text, scores, None, exam.versions, THOUSANDTHS)


def _again(exam: Exam, question: Question, saved: Record | None, identity: Identity) -> Record:
    if saved is None:
        scores = exam.score(question, "", BoxScale(1, 1))
        return make_record(question, identity, None, "", scores, "no answer in the file", exam.versions)
    scores = exam.score(question, saved.text, BoxScale(*saved.box_scale))
    judged = {key: value for key, value in saved.scores.items() if key == exam.judge_column}
    return replace(
        saved,
        scores={**judged, **scores},
        parser_version=exam.versions.parser,
        definition=exam.versions.definition,
    )
