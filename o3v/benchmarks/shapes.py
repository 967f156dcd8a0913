"""The benchmark of the generated world: what, when and where on fresh scenes whose truth is known exactly.

The columns of a record, each between 0 and 1, and the tasks that have them:

    parsed            all; think and answer blocks are there
    acc               tasks with a letter, or with an answer in words: exact match (case and punctuation do not count)
    tiou              temporal tasks: span of the answer against the annotated one
    box_iou           visual QA: box of the answer against the box of the object asked for
    claim_iou         tasks with key frames: claims against annotated boxes, whenever the claims are made
    claim_iou_strict  the same, counting only claims made at the key frame's time

An answer that cannot be read scores 0 and stays in every denominator.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np

from o3v.benchmarks.metrics import arithmetic_mean, log_geometric_mean, mean_over_chains
from o3v.benchmarks.records import Record
from o3v.benchmarks.statistics import Columns, Derived, Estimate, estimate_columns
from o3v.errors import ConfigError
from o3v.grounding.boxes import box_iou
from o3v.grounding.spans import tiou
from o3v.types import Claim, Completion, KeyFrame, Sample, Task

log = logging.getLogger(__name__)

THRESHOLDS = (0.3, 0.5, 0.7)
"""Of R1@tIoU, as V-STaR and TVGBench report them; a tIoU equal to the threshold counts."""

CHAINS = {"chain1": "box_iou", "chain2": "claim_iou_strict"}
"""Where 'where' comes from: chain 1 is given the frame, chain 2 must find the moment too."""

SHOWN = (
    *(f"reward/total@{task}" for task in Task),
    *("acc", "tiou", "box_iou", "claim_iou", "claim_iou_strict", "R1@tIoU=0.5", "mAM", "mLGM", "parsed", "coverage"),
)
"""Columns of a report, in this order."""

Formula = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


class SampleSource(Protocol):
    """A data set that can be asked for all its samples."""

    def samples(self) -> list[Sample]:
        """The samples, in an order that does not change."""


def normalise_answer(text: str) -> str:
    """Lower case words without punctuation, tags and articles, for an exact match.

    >>> normalise_answer(" The <obj>Red</obj> circle.")
    'red circle'
    """
    words = re.findall(r"\w+", re.sub(r"</?\w+>", " ", text).lower())
    return " ".join(word for word in words if word not in {"a", "an", "the"})


def answer_accuracy(sample: Sample, completion: Completion) -> float:
    """1 for the right letter (tasks that have one) or the same words as the sample's answer, else 0."""
    if sample.letter is not None:
        return float(completion.answer_letter == sample.letter)
    return float(normalise_answer(completion.answer or "") == normalise_answer(sample.answer))


def claim_iou(key_frames: Sequence[KeyFrame], claims: Sequence[Claim], tolerance_s: float) -> float:
    """How well claims point at what is annotated: mean over key frames of the IoU of the best of its objects.

    For an object of a key frame the claim of the same name nearest in time counts; if no claim has its name, the
    nearest of those whose names the frame does not know, so that a claim never counts for another object that is
    annotated there. Of several objects in a frame the best one counts, as a question need not ask for all.

    Args:
        key_frames: annotated moments; those without boxes do not count.
        claims: of the completion's reasoning.
        tolerance_s: claims farther from a key frame's time than this do not count for it; `math.inf` takes all.

    Returns:
        0 to 1; 0 without claims or key frames. Claims beyond the key frames cost nothing, as in V-STaR.

    Example:
        >>> frame = KeyFrame(2.0, {"cat": ((0.0, 0.0, 0.5, 1.0),)}, None)
        >>> claim = Claim("cat", ((0.0, 0.0, 1.0, 1.0),), 3.0)
        >>> claim_iou([frame], [claim], 5.0), claim_iou([frame], [claim], 0.5)
        (0.5, 0.0)
    """
    scored = [_frame_iou(frame, claims, tolerance_s) for frame in key_frames if any(frame.boxes.values())]
    return sum(scored) / len(scored) if scored else 0.0


def _frame_iou(frame: KeyFrame, claims: Sequence[Claim], tolerance_s: float) -> float:
    near = [claim for claim in claims if abs(claim.time_s - frame.time_s) <= tolerance_s]
    near.sort(key=lambda claim: abs(claim.time_s - frame.time_s))
    boxes_of = {normalise_answer(name): boxes for name, boxes in frame.boxes.items() if boxes}
    strangers = [claim for claim in near if normalise_answer(claim.name) not in boxes_of]
    best = 0.0
    for name, boxes in boxes_of.items():
        candidates = [claim for claim in near if normalise_answer(claim.name) == name] or strangers
        if candidates:
            best = max(best, *(box_iou(claimed, box) for claimed in candidates[0].boxes for box in boxes))
    return best


def _over_chains(formula: Formula, means: Columns) -> np.ndarray:
    one, two = (_of_chain(formula, where, means) for where in CHAINS.values())
    return mean_over_chains(one, two)


def _of_chain(formula: Formula, where: str, means: Columns) -> np.ndarray:
    return formula(means["acc"], means["tiou"], means[where])


@dataclass(frozen=True)
class ShapesBenchmark:
    """Samples, scores and summary of the generated world.

    Attributes:
        dataset: where samples come from.
        tasks: values of `Task` to ask; None asks all that the data has.
        n_per_task: samples of each; all of them where there are fewer.
        seed: of the choice of samples and of the bootstrap.
        frame_interval_s: seconds between two frames; a claim within half of it is at the key frame's time.
        resamples: bootstrap draws of an interval.

    Raises:
        ConfigError: an unknown or missing task, or a number out of range.
    """

    dataset: SampleSource
    tasks: Sequence[str] | None
    n_per_task: int
    seed: int
    frame_interval_s: float
    resamples: int

    def __post_init__(self) -> None:
        known = [str(task) for task in Task]
        unknown = [task for task in self.tasks or () if task not in known]
        if unknown or (self.tasks is not None and not self.tasks):
            raise ConfigError(f"benchmark.tasks={list(self.tasks or ())}: {unknown or 'empty'}; allowed are {known}")
        for key, value in (("n_per_task", self.n_per_task), ("resamples", self.resamples)):
            if value < 1:
                raise ConfigError(f"benchmark.{key}={value}: must be at least 1")
        if self.frame_interval_s <= 0:
            raise ConfigError(f"benchmark.frame_interval_s={self.frame_interval_s}: must be above 0")

    def samples(self) -> list[Sample]:
        """The samples asked, by id: `n_per_task` of each task, drawn with the seed.

        Raises:
            ConfigError: the data set has no sample of a task.
        """
        everything = sorted(self.dataset.samples(), key=lambda sample: sample.id)
        chosen: list[Sample] = []
        for task in dict.fromkeys(self.tasks or sorted({str(sample.task) for sample in everything})):
            of_task = [sample for sample in everything if sample.task == task]
            if not of_task:
                there = sorted({str(sample.task) for sample in everything})
                raise ConfigError(f"benchmark.tasks: the data set has no {task!r}; it has {there}")
            if len(of_task) < self.n_per_task:
                log.info("%s: %d samples, fewer than n_per_task=%d", task, len(of_task), self.n_per_task)
            order = np.random.default_rng(self.seed).permutation(len(of_task))[: self.n_per_task]
            chosen += [of_task[index] for index in order]
        return sorted(chosen, key=lambda sample: sample.id)

    def score(self, sample: Sample, completion: Completion) -> dict[str, float]:
        """The columns that the sample's task has; see the head of this file."""
        scores = {"parsed": float(completion.think is not None and completion.answer is not None)}
        if sample.letter is not None or sample.task in (Task.TEMPORAL_SPATIAL, Task.GENERAL_FREE_FORM):
            scores["acc"] = answer_accuracy(sample, completion)
        if sample.span_s is not None:
            span = completion.answer_span_s
            scores["tiou"] = tiou(span, sample.span_s) if span is not None else 0.0
        if sample.box is not None:
            box = completion.answer_box
            scores["box_iou"] = box_iou(box, sample.box) if box is not None else 0.0
        if any(any(frame.boxes.values()) for frame in sample.key_frames):
            claims, frames = completion.claims, sample.key_frames
            scores["claim_iou"] = claim_iou(frames, claims, float("inf"))
            scores["claim_iou_strict"] = claim_iou(frames, claims, self.frame_interval_s / 2)
        return scores

    def columns(self, records: Sequence[Record]) -> dict[str, np.ndarray]:
        """Name -> [N] values of the records, nan where a column does not apply.

        Beside the records' own scores: `reward/total@<task>`; `R1@tIoU=x`; `coverage`, 1 where the media could be read.
        """
        rows = [_row(record) for record in records]
        names = sorted({name for row in rows for name in row})
        return {name: np.array([row.get(name, np.nan) for row in rows], dtype=float) for name in names}

    def derived(self, names: Collection[str]) -> Derived:
        """Numbers made of the columns' means: AM and LGM of each chain, mAM, mLGM (fractions; LGM in nats).

        Empty where a column that they need is not among `names`. What, when and where come from different samples.
        """
        if not {"acc", "tiou", *CHAINS.values()} <= set(names):
            return {}
        derived: dict[str, Callable[[Columns], np.ndarray]] = {}
        for short, formula in (("AM", arithmetic_mean), ("LGM", log_geometric_mean)):
            for chain, where in CHAINS.items():
                derived[f"{chain}/{short}"] = partial(_of_chain, formula, where)
            derived[f"m{short}"] = partial(_over_chains, formula)
        return derived

    def summary(self, records: Sequence[Record]) -> dict[str, Estimate]:
        """Means of all columns and the numbers made of them, with intervals clustered by video."""
        columns = self.columns(records)
        videos = [record.video for record in records]
        return estimate_columns(columns, videos, self.derived(columns), self.resamples, self.seed)


def _row(record: Record) -> Mapping[str, float]:
    row = {**record.scores, "coverage": float(record.error is None)}
    if "tiou" in row:
        row |= {f"R1@tIoU={threshold}": float(row["tiou"] >= threshold) for threshold in THRESHOLDS}
    if "reward/total" in row:
        row[f"reward/total@{record.task}"] = row["reward/total"]
    return row
