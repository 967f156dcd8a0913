"""Reward terms of the answer block: right option or words, right segment, right box (r_acc of the paper).

Every term here and in the sibling files is a frozen dataclass, called as `term(completion, sample, progress)`, with the
tasks that it applies to in `tasks`. It gives a number in [0, 1] for any text. It gives NaN, "undefined", only where the
sample lacks the annotation that the term needs, which no validated sample does; `RewardMix` counts that as 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from o3v.grounding.boxes import box_iou
from o3v.grounding.spans import tiou
from o3v.rewards.rouge import rouge
from o3v.types import Completion, Sample, Task

CHOICE_TASKS = frozenset({Task.TEMPORAL_MCQ, Task.GENERAL_MCQ})
FREE_FORM_TASKS = frozenset({Task.TEMPORAL_SPATIAL, Task.GENERAL_FREE_FORM})
TEMPORAL_TASKS = frozenset({Task.TEMPORAL_QA, Task.TEMPORAL_MCQ})


def mean_rouge(reference: str, hypothesis: str) -> float:
    """Mean of the F-measures of ROUGE-1, ROUGE-2 and ROUGE-L with Porter stemming, in [0, 1].

    Edge cases: a single word scores at most 2/3, as it has no pair of words for ROUGE-2; text without Latin letters or
    digits scores 0 (defects R9 of the released code, kept because its definition is the paper's).

    Example:
        >>> round(mean_rouge("the red ball", "the red balls"), 4), round(mean_rouge("red", "red"), 4)
        (1.0, 0.6667)
    """
    return rouge(reference, hypothesis).mean


@dataclass(frozen=True)
class AnsAcc:
    """Reward `ans_acc`: the option letter (0 or 1), or `mean_rouge` of a free-form answer.

    Open-o3 Video, arXiv:2510.20579, sec. 3.3, r_acc.
    """

    tasks: ClassVar[frozenset[Task]] = CHOICE_TASKS | FREE_FORM_TASKS

    def __call__(self, completion: Completion, sample: Sample, progress: float) -> float:
        """0 without an answer; a letter counts in the forms `A`, `A.`, `(A)`, `[A]`."""
        if sample.task in FREE_FORM_TASKS:
            return mean_rouge(sample.answer, completion.answer or "")
        if sample.letter is None:
            return math.nan
        return float(completion.answer_letter == sample.letter)


@dataclass(frozen=True)
class AnsTiou:
    """Reward `ans_tiou`: temporal IoU of the answered segment with the annotated one.

    Open-o3 Video, arXiv:2510.20579, sec. 3.3, r_acc.
    """

    tasks: ClassVar[frozenset[Task]] = TEMPORAL_TASKS

    def __call__(self, completion: Completion, sample: Sample, progress: float) -> float:
        """0 without a readable segment."""
        if sample.span_s is None:
            return math.nan
        return tiou(completion.answer_span_s, sample.span_s) if completion.answer_span_s else 0.0


@dataclass(frozen=True)
class AnsViou:
    """Reward `ans_viou`: IoU of the answered box with the annotated one, in one image (no tube).

    Open-o3 Video, arXiv:2510.20579, sec. 3.3, r_acc.
    """

    tasks: ClassVar[frozenset[Task]] = frozenset({Task.VISUAL_QA})

    def __call__(self, completion: Completion, sample: Sample, progress: float) -> float:
        """0 without a readable box."""
        if sample.box is None:
            return math.nan
        return box_iou(completion.answer_box, sample.box) if completion.answer_box else 0.0
