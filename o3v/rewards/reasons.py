"""Why a reward term pays what it pays: sentences made of the same parts from which the term computes its value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import singledispatch

from o3v.grounding.boxes import box_iou
from o3v.grounding.spans import contains
from o3v.rewards.answer import FREE_FORM_TASKS, AnsAcc, AnsTiou, AnsViou
from o3v.rewards.format import Format, defect
from o3v.rewards.reference import ReferenceTerm
from o3v.rewards.reference_fixed import AsReference, reread
from o3v.rewards.rouge import rouge
from o3v.rewards.thinking import (
    ClaimVerdict,
    ThkSpatial,
    ThkTemporalPoint,
    ThkTemporalSegment,
    nearest_frame,
    one_proximity,
)
from o3v.types import Box, Completion, KeyFrame, Sample, Span, Task

QUOTED_LETTERS = 60
"""Longer texts are cut in a sentence."""


@singledispatch
def reasons(term: object, completion: Completion, sample: Sample, progress: float) -> tuple[str, ...]:
    """Sentences that lead from a completion to a term's value.

    Args:
        term: a reward term; one that this module does not know gives no reasons.
        completion: parsed text.
        sample: what it answers.
        progress: share of the training steps done.
    """
    return ()


@singledispatch
def verdicts(term: object, completion: Completion, sample: Sample) -> tuple[ClaimVerdict, ...]:
    """How a term judges each claim of a completion; () for terms that look at no claims."""
    return ()


@reasons.register
def _(term: AnsAcc, completion: Completion, sample: Sample, progress: float) -> tuple[str, ...]:
    if completion.answer is None:
        return ("there is no answer",)
    if sample.task in FREE_FORM_TASKS:
        scores = rouge(sample.answer, completion.answer)
        against = f"of {quoted(completion.answer)} against {quoted(sample.answer)}"
        parts = f"ROUGE-1 {scores.one:.3f}, ROUGE-2 {scores.two:.3f}, ROUGE-L {scores.longest:.3f}"
        return (f"{parts} {against}; paid is their mean",)
    if completion.answer_letter is None:
        return (f"{quoted(completion.answer)} names no option; right is {sample.letter}",)
    return (f"the answer names {quoted(completion.answer_letter)}; right is {sample.letter}",)


@reasons.register
def _(term: AnsTiou, completion: Completion, sample: Sample, progress: float) -> tuple[str, ...]:
    if completion.answer_span_s is None:
        return ("the answer has no segment <t>a</t>s to <t>b</t>s",)
    (a, b), annotated = completion.answer_span_s, sample.span_s
    if annotated is None:
        return ("the annotated segment is missing",)
    if b < a:
        return (f"the answered segment {seconds((a, b))} ends before it starts",)
    shared = max(0.0, min(b, annotated[1]) - max(a, annotated[0]))
    hull = max(b, annotated[1]) - min(a, annotated[0])
    return (f"answered {seconds((a, b))}, annotated {seconds(annotated)}: {shared:g} s shared, {hull:g} s spanned",)


@reasons.register
def _(term: AnsViou, completion: Completion, sample: Sample, progress: float) -> tuple[str, ...]:
    if completion.answer_box is None:
        return ("the answer has no readable box",)
    if sample.box is None:
        return ("the annotated box is missing",)
    return (f"answered box {shares(completion.answer_box)}, annotated {shares(sample.box)}",)


@reasons.register
def _(term: ThkTemporalPoint, completion: Completion, sample: Sample, progress: float) -> tuple[str, ...]:
    times_s, key_s = completion.think_times_s, [frame.time_s for frame in sample.key_frames]
    if not times_s:
        return ("the reasoning cites no time",)
    if not key_s:
        return ("no key frame is annotated",)
    sigma_s = term.sigma_s(progress)
    lines = [f"width {sigma_s:.3g} s at {progress:.0%} of the training; mean over {len(times_s)} cited times"]
    for time_s in times_s:
        key = min(key_s, key=lambda key: abs(key - time_s))
        value = one_proximity(time_s, key_s, sigma_s)
        lines.append(f"{time_s:g} s is {abs(time_s - key):.3g} s from the key frame at {key:g} s: {value:.3f}")
    return tuple(lines)


@reasons.register
def _(term: ThkTemporalSegment, completion: Completion, sample: Sample, progress: float) -> tuple[str, ...]:
    if not completion.think_times_s:
        return ("the reasoning cites no time",)
    if sample.span_s is None:
        return ("the annotated segment is missing",)
    where = {True: "inside", False: "outside"}
    cited = (f"{time_s:g} s {where[contains(sample.span_s, time_s)]}" for time_s in completion.think_times_s)
    return (f"annotated segment {seconds(sample.span_s)}; cited: {', '.join(cited)}",)


@reasons.register
def _(term: ThkSpatial, completion: Completion, sample: Sample, progress: float) -> tuple[str, ...]:
    if completion.think is None or completion.answer is None:
        return ("there is no think block or no answer block",)
    if sample.task == Task.VISUAL_QA:
        return _still(completion.think_boxes, sample.box)
    found = verdicts(term, completion, sample)
    counted = f"{term.divisor(completion)} {term.denominator}"
    head = f"{len(found)} claims, their overlaps added and divided by {counted}" if found else "there is no claim"
    return (head, *(_verdict(verdict, sample.key_frames, term.gate_s) for verdict in found))


@reasons.register
def _(term: Format, completion: Completion, sample: Sample, progress: float) -> tuple[str, ...]:
    wrong = defect(completion)
    if wrong is not None:
        return (wrong,)
    if term(completion, sample, progress) < 1.0:
        return (f"both blocks are there, the evidence that {sample.task!s} asks for is not",)
    return ("both blocks are there, all tags have partners, the task's evidence is cited",)


@reasons.register
def _(term: AsReference, completion: Completion, sample: Sample, progress: float) -> tuple[str, ...]:
    return reasons(term.term, reread(completion, sample.task), sample, progress)


@reasons.register
def _(term: ReferenceTerm, completion: Completion, sample: Sample, progress: float) -> tuple[str, ...]:
    raised = term.outcome(completion, sample, progress).raised
    return (f"the released code ends with {raised}",) if raised else ("by the released code's arithmetic",)


@verdicts.register
def _(term: ThkSpatial, completion: Completion, sample: Sample) -> tuple[ClaimVerdict, ...]:
    return term.verdicts(completion, sample)


@verdicts.register
def _(term: AsReference, completion: Completion, sample: Sample) -> tuple[ClaimVerdict, ...]:
    return verdicts(term.term, reread(completion, sample.task), sample)


def seconds(span_s: Span) -> str:
    """A segment in words.

    >>> seconds((1.0, 2.5))
    '1 to 2.5 s'
    """
    return f"{span_s[0]:g} to {span_s[1]:g} s"


def shares(box: Box) -> str:
    """A normalised box in words.

    >>> shares((0.1, 0.0, 0.5, 1 / 3))
    '[0.10, 0.00, 0.50, 0.33]'
    """
    return f"[{', '.join(f'{value:.2f}' for value in box)}]"


def quoted(text: str) -> str:
    """A text in quotes on one line, cut where it is long.

    >>> quoted("two  lines"), len(quoted("x" * 100))
    ("'two lines'", 63)
    """
    line = " ".join(text.split())
    return f"'{line if len(line) <= QUOTED_LETTERS else line[:QUOTED_LETTERS] + '…'}'"


def _still(boxes: Sequence[Box], annotated: Box | None) -> tuple[str, ...]:
    if not boxes:
        return ("the reasoning has no readable box",)
    if annotated is None:
        return ("the annotated box is missing",)
    head = f"best of {len(boxes)} boxes of the reasoning against {shares(annotated)}"
    return (head, *(f"{shares(box)}: IoU {box_iou(box, annotated):.3f}" for box in boxes))


def _verdict(verdict: ClaimVerdict, key_frames: Sequence[KeyFrame], gate_s: float | None) -> str:
    claim = verdict.claim
    what = f"{quoted(claim.name)} at {claim.time_s:g} s"
    nearest = nearest_frame(claim.time_s, key_frames, None)
    if nearest is None:
        return f"{what}: no key frame to compare with"
    gap = f"{abs(nearest.time_s - claim.time_s):.3g} s from the key frame at {nearest.time_s:g} s"
    if verdict.frame is None:
        return f"{what}: {gap}, gate of {gate_s:g} s closed, pays 0"
    worth = "an annotated box cannot be read" if math.isnan(verdict.overlap) else f"overlap {verdict.overlap:.3f}"
    names = ", ".join(verdict.frame.boxes) or "nothing"
    return f"{what}: {gap}, gate {'open' if gate_s is not None else 'off'}, {worth} with the best of: {names}"
