"""The same questions answered by every arm, side by side: the answer, its scores, and the frames that it cites."""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from o3v.benchmarks.pairs import Compared
from o3v.benchmarks.records import Record
from o3v.comparison.collect import Collected
from o3v.errors import MediaError

if TYPE_CHECKING:
    from o3v.benchmarks.question import Question
    from o3v.types import Clip, Completion, Sample

COLUMNS, FRAME_PX = 2, 210
"""Frames beside each other in a picture, and their width: a card of a page is narrow, and labels must stay readable."""

QUALITY = 82
"""Of the WebP pictures."""


@dataclass(frozen=True)
class Choice:
    """How many questions are shown.

    Attributes:
        disagree: those on which the arms' scores differ most.
        random: drawn from the others.
        seed: of the draw.
    """

    disagree: int
    random: int
    seed: int


@dataclass(frozen=True)
class Answered:
    """What one arm said.

    Attributes:
        text: the model's text, as it is.
        scores: its scores.
        error: why there was nothing to answer, else None.
        picture: WebP file of the cited frames; None where there is none.
        told: why there is no picture, else "".
    """

    text: str
    scores: Mapping[str, float]
    error: str | None
    picture: bytes | None
    told: str


@dataclass(frozen=True)
class Example:
    """One question with every arm's answer.

    Attributes:
        benchmark, id, task: which question.
        why: how it was chosen.
        seed: of the runs whose answers are shown.
        question: as asked; "" where the benchmark's data is not at hand.
        truth: the annotated answer; "" where it is not known.
        answers: arm -> what it said.
    """

    benchmark: str
    id: str
    task: str
    why: str
    seed: int
    question: str
    truth: str
    answers: Mapping[str, Answered]


Questions = Mapping[str, "Question"]
Draw = Callable[[Record, "Question | None"], tuple[bytes | None, str]]
"""An answer and its question -> a picture, or None and why not."""


def build_examples(
    collected: Collected,
    name: str,
    benchmark: Compared,
    metrics: Sequence[str],
    choice: Choice,
    questions: Questions,
    draw: Draw,
) -> list[Example]:
    """Examples of one benchmark, of the first seed for which most arms have answers.

    Args:
        collected: results of the runs.
        name: of the benchmark.
        benchmark: knows the columns.
        metrics: of the table; disagreement is the range over the arms of the mean of those that are a question's own.
        choice: how many.
        questions: id -> question; may be empty.
        draw: makes the pictures, see `draw_evidence`.
    """
    seed, keys = _seed_of(collected, name)
    if not keys:
        return []
    answers = {arm: {record.sample_id: record for record in collected.records[key]} for arm, key in keys.items()}
    common = sorted(set.intersection(*(set(found) for found in answers.values())))
    scores = np.stack([_score([of[one] for one in common], benchmark, metrics) for of in answers.values()])
    found = []
    for index, why in choose(common, scores, choice):
        records = {arm: of[common[index]] for arm, of in answers.items()}
        found.append(_example(name, seed, why, records, questions.get(common[index]), draw))
    return found


def choose(ids: Sequence[str], scores: np.ndarray, choice: Choice) -> list[tuple[int, str]]:
    """Indices of the questions to show, each with the reason.

    Args:
        ids: of the questions, in a fixed order.
        scores: [arms, N], nan where a question has no score.
        choice: how many.

    Example:
        >>> choose(["a", "b", "c"], np.array([[0.0, 1.0, 0.5], [0.0, 0.0, 0.4]]), Choice(1, 1, 0))
        [(1, 'the arms disagree most: 0.00 to 1.00'), (0, 'drawn at random')]
    """
    there = ~np.isnan(scores).any(axis=0)
    with np.errstate(invalid="ignore"):
        span = np.where(there, scores.max(axis=0) - scores.min(axis=0), -1.0)
    order = [int(index) for index in np.argsort(-span, kind="stable") if span[index] > 0][: choice.disagree]
    found = [(i, f"the arms disagree most: {scores[:, i].min():.2f} to {scores[:, i].max():.2f}") for i in order]
    rest = [index for index in range(len(ids)) if index not in order]
    drawn = np.random.default_rng(choice.seed).permutation(len(rest))[: choice.random]
    return found + [(rest[int(index)], "drawn at random") for index in drawn]


def draw_evidence(record: Record, question: Question | None) -> tuple[bytes | None, str]:
    """The frames that an answer cites, with its boxes solid and the annotation dashed, and the timeline.

    Returns:
        A WebP file and "", or None and the reason: no question at hand, or media that cannot be read.
    """
    from o3v.evidence.draw import evidence_strip
    from o3v.grounding.parse import parse_completion
    from o3v.types import BoxScale

    if question is None:
        return None, "no picture: the benchmark's data is not at hand"
    completion = parse_completion(record.text, BoxScale(*record.box_scale))
    sample = question.truth.get("sample")
    try:
        clip = _clip(question, completion, sample)
    except MediaError as error:
        return None, f"no picture: {error.reason}"
    buffer = io.BytesIO()
    evidence_strip(clip, completion, sample, COLUMNS, FRAME_PX).save(buffer, "WEBP", quality=QUALITY)
    return buffer.getvalue(), ""


def no_picture(record: Record, question: Question | None) -> tuple[bytes | None, str]:
    """A `Draw` that draws nothing."""
    return None, ""


def _clip(question: Question, completion: Completion, sample: Sample | None) -> Clip:
    """The frames at every cited and annotated time, or three over the video; or the still image."""
    from o3v.types import Clip
    from o3v.video.decode import open_video, read_image

    if question.video_path is None:
        if question.image_path is None:
            raise MediaError(question.id, "the question names no media")
        image = read_image(question.image_path)
        return Clip(image[None], (), 0.0, (image.shape[1], image.shape[0]))
    with open_video(question.video_path) as video:
        begin_s, end_s = question.span_s or (float(video.times_s[0]), float(video.times_s[-1]))
        cited = [*(claim.time_s for claim in completion.claims), *completion.think_times_s]
        annotated = [key_frame.time_s for key_frame in sample.key_frames] if sample else []
        inside = [time_s for time_s in [*cited, *annotated] if 0.0 <= time_s <= video.index.end_s]
        pairs = list(video.frames_at(inside or [begin_s, (begin_s + end_s) / 2, end_s]))
        frames = np.stack([frame for _, frame in pairs])
        return Clip(frames, tuple(t for t, _ in pairs), video.index.end_s, (frames.shape[2], frames.shape[1]))


def _seed_of(collected: Collected, name: str) -> tuple[int, dict[str, str]]:
    """The first of the seeds for which most arms have answers, and arm -> key of its evaluation."""
    found = {arm: collected.evaluations(name, arm) for arm in collected.study.arms}
    counts = {seed: sum(seed in of_arm for of_arm in found.values()) for seed in collected.study.seeds}
    best = max(counts, key=lambda seed: counts[seed])
    return best, {arm: of_arm[best] for arm, of_arm in found.items() if best in of_arm}


def _score(records: Sequence[Record], benchmark: Compared, metrics: Collection[str]) -> np.ndarray:
    """[N] mean of a question's own metrics; nan where it has none."""
    columns = benchmark.columns(records)
    used = [columns[name] for name in metrics if name in columns] or list(columns.values())
    table = np.stack(used)
    there = ~np.isnan(table)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(there, table, 0.0).sum(axis=0) / there.sum(axis=0)  # type: ignore[no-any-return]


def _example(
    name: str, seed: int, why: str, records: Mapping[str, Record], question: Question | None, draw: Draw
) -> Example:
    answers = {}
    for arm, record in records.items():
        picture, told = draw(record, question)
        answers[arm] = Answered(record.text, record.scores, record.error, picture, told)
    first = next(iter(records.values()))
    return Example(
        benchmark=name,
        id=first.sample_id,
        task=first.task,
        why=why,
        seed=seed,
        question=question.text if question is not None else "",
        truth=_truth(question.truth) if question is not None else "",
        answers=answers,
    )


def _truth(truth: Mapping[str, Any]) -> str:
    """The annotated answer in words, where the benchmark's annotation has one."""
    sample = truth.get("sample")
    if sample is not None:
        from o3v.evidence.draw import readable

        return readable(sample.answer)
    return next((str(truth[key]) for key in ("answer", "letter") if truth.get(key) is not None), "")
