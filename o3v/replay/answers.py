"""Rollouts from saved places: the groups of a training step, and the answers of an evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from o3v.replay.format import rollout_fields
from o3v.types import BoxScale, Completion, Sample

if TYPE_CHECKING:
    from o3v.benchmarks.question import Question
    from o3v.benchmarks.records import Record

END_OF_TRAINING = 1.0
"""Progress at which the answers of an evaluation are scored, as its own rewards are."""


def step_rollouts(
    step: int, groups: Iterable[tuple[Sample, Sequence[Completion]]], progress: float
) -> Iterator[dict[str, Any]]:
    """Lines of one training step, named STEP/PLACE/SAMPLE.

    Args:
        step: number of the batch.
        groups: each sample with its G completions.
        progress: share of the training done with which they were rewarded.
    """
    for place, (sample, completions) in enumerate(groups):
        scale = completions[0].box_scale if completions else BoxScale(1.0, 1.0)
        texts = [completion.text for completion in completions]
        yield rollout_fields(f"{step}/{place}/{sample.id}", sample, texts, scale, progress, {})


def answered_rollouts(questions: Iterable[Question], records: Iterable[Record]) -> Iterator[dict[str, Any]]:
    """Lines of an evaluation's answers, one a question and box scale, in the order of the questions.

    Questions that are no sample of a data set (`truth["sample"]`) have no reward and are left out, as are answers that
    failed with an error.
    """
    answers: dict[str, dict[tuple[float, float], list[Record]]] = {}
    for record in records:
        if record.error is None:
            width, height = record.box_scale
            answers.setdefault(record.sample_id, {}).setdefault((width, height), []).append(record)
    for question in questions:
        sample = question.truth.get("sample")
        if not isinstance(sample, Sample):
            continue
        for number, (scale, same) in enumerate(answers.get(question.id, {}).items()):
            line_id = question.id if number == 0 else f"{question.id}@{number}"
            texts = [record.text for record in same]
            origin = {"model": same[0].model, "run": same[0].run}
            yield rollout_fields(line_id, sample, texts, BoxScale(*scale), END_OF_TRAINING, origin)
