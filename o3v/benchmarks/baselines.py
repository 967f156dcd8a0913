"""Answers that need no model: what a score is worth shows only beside them.

A rule says what stands for the segment, the box and the words. Constants are fitted on training samples, never on
the samples that are scored. The answers are written as text and read by the same parser as a model's.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from o3v.benchmarks.records import Identity, Record, Scorer, make_record
from o3v.benchmarks.trivial import CENTRE_BOX, FULL_FRAME, centre, whole
from o3v.errors import ConfigError
from o3v.grounding.parse import parse_completion
from o3v.grounding.render import render_box, render_claim, render_span, render_target
from o3v.types import Box, BoxScale, Claim, Completion, Sample, Span, Task

Shares = Mapping[str, float]
"""Answer or letter -> its share; sums to 1."""

_SCALE = BoxScale(10_000, 10_000)
_NAME = "object"
_MAX_CLAIMS = 1000
_GRID = 32


@dataclass(frozen=True)
class Constants:
    """What training samples tell without looking at a video.

    Attributes:
        span_s: the one span with the highest mean tIoU over the training spans; None without any.
        box: mean of the annotated boxes; None without any.
        answers: task -> shares of its answers in words.
        letters: task -> shares of its correct letters.
    """

    span_s: Span | None
    box: Box | None
    answers: Mapping[Task, Shares]
    letters: Mapping[Task, Shares]


@dataclass(frozen=True)
class Baseline:
    """What stands for each part of an answer; None leaves the part out, which scores 0.

    Attributes:
        span: duration in seconds and constants -> segment.
        box: constants -> box; claimed at every whole second, which no benchmark here punishes.
        words: shares of the training answers -> weighted answers.
    """

    span: Callable[[float, Constants], Span | None] | None
    box: Callable[[Constants], Box | None] | None
    words: Callable[[Shares], Shares] | None


def fit_constants(train: Iterable[Sample]) -> Constants:
    """Fits the constants on training samples."""
    spans: list[Span] = []
    boxes: list[Box] = []
    answers: dict[Task, Counter[str]] = defaultdict(Counter)
    letters: dict[Task, Counter[str]] = defaultdict(Counter)
    for sample in train:
        spans += [sample.span_s] if sample.span_s else []
        boxes += [sample.box] if sample.box else []
        boxes += [box for frame in sample.key_frames for named in frame.boxes.values() for box in named]
        if sample.letter is not None:
            letters[sample.task][sample.letter] += 1
        elif sample.task in (Task.TEMPORAL_SPATIAL, Task.GENERAL_FREE_FORM):
            answers[sample.task][sample.answer] += 1
    x1, y1, x2, y2 = np.mean(boxes, axis=0).tolist() if boxes else CENTRE_BOX
    return Constants(
        span_s=best_constant_span(spans) if spans else None,
        box=(x1, y1, x2, y2) if boxes else None,
        answers={task: _shares(counts) for task, counts in answers.items()},
        letters={task: _shares(counts) for task, counts in letters.items()},
    )


def best_constant_span(spans: Sequence[Span]) -> Span:
    """The span with the highest mean tIoU over given spans, among starts and ends that occur (32 quantiles of each).

    >>> best_constant_span([(0.0, 4.0), (0.0, 4.0), (3.0, 9.0)])
    (0.0, 4.0)
    """
    start, end = np.array(spans, dtype=float).T
    grid = np.linspace(0, 1, _GRID)
    starts = np.unique(np.quantile(start, grid, method="nearest"))[:, None, None]
    ends = np.unique(np.quantile(end, grid, method="nearest"))[None, :, None]
    shared = np.maximum(0.0, np.minimum(end, ends) - np.maximum(start, starts))  # [starts, ends, spans]
    hull = np.maximum(end, ends) - np.minimum(start, starts)
    mean = np.where(hull > 0, shared / np.where(hull > 0, hull, 1.0), 0.0).mean(-1)
    i, j = np.unravel_index(int(mean.argmax()), mean.shape)
    return float(starts[i, 0, 0]), float(ends[0, j, 0])


def baseline_completions(
    name: str, sample: Sample, constants: Constants, duration_s: float
) -> tuple[tuple[float, Completion], ...]:
    """The baseline's answers to a sample with their weights, which sum to 1.

    A deterministic baseline has one; the random one has every answer seen in training with its share, so that the
    weighted mean of their scores is its exact expectation.

    Args:
        name: a key of `BASELINES`.
        sample: what is asked; its annotations are not used, only its task.
        constants: from training samples.
        duration_s: length of the sample's video; 0 for an image.

    Raises:
        ConfigError: unknown name.
    """
    if name not in BASELINES:
        raise ConfigError(f"baseline {name!r} is not known; allowed are {sorted(BASELINES)}")
    rule = BASELINES[name]
    span = rule.span(duration_s, constants) if rule.span else None
    box = rule.box(constants) if rule.box else None
    shares = constants.letters if sample.task in _LETTER_TASKS else constants.answers
    words: Shares = rule.words(shares[sample.task]) if rule.words and sample.task in shares else {"": 1.0}
    texts: defaultdict[str, float] = defaultdict(float)
    for word, weight in words.items():
        texts[_text(sample.task, span, box, word, duration_s)] += weight
    return tuple((weight, parse_completion(text, _SCALE)) for text, weight in texts.items())


def baseline_records(
    name: str, samples: Sequence[Sample], constants: Constants, duration_s: Callable[[Sample], float], score: Scorer
) -> list[Record]:
    """Records of a baseline, by sample id, scored as a model's are; `text` is its likeliest answer.

    Args:
        name: a key of `BASELINES`.
        samples: what is asked.
        constants: from training samples.
        duration_s: sample -> length of its video, 0 for an image.
        score: scores of an answer.
    """
    identity = Identity(model=f"baseline/{name}", run="", seed=0)
    records = []
    for sample in sorted(samples, key=lambda s: s.id):
        weighted = baseline_completions(name, sample, constants, duration_s(sample))
        scored = [score(sample, completion) for _, completion in weighted]
        weights = [weight for weight, _ in weighted]
        scores = {key: _weighted_mean([row[key] for row in scored], weights) for key in scored[0]}
        text = max(weighted, key=lambda pair: pair[0])[1].text
        records.append(make_record(sample, identity, None, text, scores, None))
    return records


_LETTER_TASKS = (Task.TEMPORAL_MCQ, Task.GENERAL_MCQ)


def _text(task: Task, span: Span | None, box: Box | None, word: str, duration_s: float) -> str:
    think = _claims(box, duration_s) if box and task is not Task.VISUAL_QA else ""
    if task is Task.VISUAL_QA:
        answer = f"<obj>{_NAME}</obj>{render_box(_SCALE.to_model(box))}" if box else ""
    elif task in (Task.TEMPORAL_QA, Task.TEMPORAL_MCQ) and span:
        answer = render_span(span, word or None)
    else:
        answer = word
    return render_target(think, answer)


def _claims(box: Box, duration_s: float) -> str:
    times_s = range(min(int(duration_s) + 1, _MAX_CLAIMS))
    return " ".join(render_claim(Claim(_NAME, (box,), float(time)), _SCALE) for time in times_s)


def _weighted_mean(values: Sequence[float], weights: Sequence[float]) -> float:
    """Exact for values that are all equal, whatever the weights' rounding."""
    if min(values) == max(values):
        return values[0]
    return math.fsum(v * w for v, w in zip(values, weights, strict=True)) / math.fsum(weights)


def _shares(counts: Counter[str]) -> Shares:
    total = counts.total()
    return {word: count / total for word, count in sorted(counts.items())}


def _majority(shares: Shares) -> Shares:
    """The most frequent answer; of equals the first by name."""
    return {max(sorted(shares), key=lambda word: shares[word]): 1.0}


def _random(shares: Shares) -> Shares:
    """An answer drawn from the training samples."""
    return shares


def _whole(duration_s: float, _: Constants) -> Span:
    return whole(duration_s)


def _centre(duration_s: float, _: Constants) -> Span:
    return centre(duration_s)


BASELINES: Mapping[str, Baseline] = {
    "whole_video": Baseline(span=_whole, box=None, words=None),
    "centre_third": Baseline(span=_centre, box=None, words=None),
    "constant_span": Baseline(span=lambda _, constants: constants.span_s, box=None, words=None),
    "full_frame": Baseline(span=None, box=lambda _: FULL_FRAME, words=None),
    "centre_box": Baseline(span=None, box=lambda _: CENTRE_BOX, words=None),
    "constant_box": Baseline(span=None, box=lambda constants: constants.box, words=None),
    "majority_answer": Baseline(span=None, box=None, words=_majority),
    "random_answer": Baseline(span=None, box=None, words=_random),
    "all_whole": Baseline(span=_whole, box=lambda _: FULL_FRAME, words=_random),
    "all_constant": Baseline(span=lambda _, c: c.span_s, box=lambda c: c.box, words=_majority),
}
"""The parts one by one, and two that answer everything: without training data as far as possible, and with it.
Multiple choice: `majority_answer` is the majority letter, `random_answer` a random one of the letters seen."""
