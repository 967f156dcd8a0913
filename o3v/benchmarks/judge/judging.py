"""Records with the scores of a judge."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from o3v.benchmarks.question import Judged, Question, ToJudge
from o3v.benchmarks.records import Record

log = logging.getLogger(__name__)

UNREADABLE = -1
"""Score of a reply in which none can be read."""


class Judge(Protocol):
    """What conf/judge describes."""

    @property
    def name(self) -> str:
        """Who judges and how; enters the report and the key of kept replies."""

    def replies(self, asked: Sequence[ToJudge]) -> Iterator[tuple[int, str]]:
        """A reply to each request, as position and text, in any order, each as soon as it is there."""


@dataclass(frozen=True)
class Judgement:
    """What came of judging.

    Attributes:
        records: in the given order, with scores where the benchmark asks for them.
        judge: its name.
        judged: replies that it gave, readable or not.
        unreadable: replies without a readable score, which count as score -1.
    """

    records: tuple[Record, ...]
    judge: str
    judged: int
    unreadable: int


def judge_records(
    benchmark: Judged, questions: Sequence[Question], records: Sequence[Record], judge: Judge
) -> Judgement:
    """Puts a judge's scores into the records that need one and have none.

    Args:
        benchmark: says what the judge is asked and how its reply is read.
        questions: of the records.
        records: those that hold `benchmark.judge_column` already are left as they are.
        judge: gives the replies.
    """
    column = benchmark.judge_column
    question_of = {question.id: question for question in questions}
    asked: dict[int, ToJudge] = {}
    for position, record in enumerate(records):
        if column not in record.scores:
            request = benchmark.to_judge(question_of[record.sample_id], record.text)
            if request is not None:
                asked[position] = request
    positions = list(asked)
    scores = {
        positions[k]: _score(benchmark, reply, records[positions[k]].sample_id)
        for k, reply in judge.replies(list(asked.values()))
    }
    judged = tuple(
        replace(record, scores={**record.scores, column: float(scores[k])}) if k in scores else record
        for k, record in enumerate(records)
    )
    unreadable = sum(score == UNREADABLE for score in scores.values())
    if unreadable:
        log.warning("judge %s: %d of %d replies hold no readable score", judge.name, unreadable, len(scores))
    return Judgement(judged, judge.name, len(scores), unreadable)


def _score(benchmark: Judged, reply: str, question_id: str) -> int:
    score = benchmark.parse_judge(reply)
    if score == UNREADABLE:
        log.info("question %s: no score in the judge's reply %r", question_id, reply[:200])
    return score
