"""Reward terms of the think block: are the cited times and boxes those that were annotated (r_thk of the paper)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from o3v.errors import ConfigError
from o3v.grounding.boxes import box_iou
from o3v.grounding.spans import contains
from o3v.rewards.answer import TEMPORAL_TASKS
from o3v.types import Box, Claim, Completion, KeyFrame, Sample, Span, Task

DENOMINATORS = ("times", "claims")


def annealed_sigma(progress: float, start_s: float, end_s: float, until: float) -> float:
    """Width of the temporal proximity: linear from `start_s` to `end_s`, then constant.

    Open-o3 Video, arXiv:2510.20579, sec. A.1: 4 to 1 s over the first 75 % of the steps.

    >>> annealed_sigma(0.0, 4.0, 1.0, 0.75), annealed_sigma(0.5, 4.0, 1.0, 0.75), annealed_sigma(0.9, 4.0, 1.0, 0.75)
    (4.0, 2.0, 1.0)
    """
    if progress >= until:
        return end_s
    return start_s + (end_s - start_s) * progress / until


def temporal_proximity(cited_s: Sequence[float], key_s: Sequence[float], sigma_s: float) -> float:
    """How near the cited times are to annotated key frames, in [0, 1].

    mean over cited t of exp(-d(t)^2 / (2 sigma^2)), d(t) = seconds from t to the nearest key frame
    (Open-o3 Video, arXiv:2510.20579, sec. 3.3, adaptive temporal proximity).

    Args:
        cited_s: times in the think block; may be empty.
        key_s: annotated times.
        sigma_s: width, already annealed.

    Returns:
        1 when every cited time is a key frame; 0 when nothing is cited; NaN when nothing is annotated.

    Differs from the reference: a time so large that its square overflows counts 0 (reward_func.py:464 raises).

    Example:
        >>> round(temporal_proximity([2.0, 4.0], key_s=[2.0], sigma_s=1.0), 4)
        0.5677
        >>> temporal_proximity([], key_s=[2.0], sigma_s=1.0)
        0.0
    """
    if not cited_s:
        return 0.0
    if not key_s:
        return math.nan
    return sum(one_proximity(t, key_s, sigma_s) for t in cited_s) / len(cited_s)


def one_proximity(cited_s: float, key_s: Sequence[float], sigma_s: float) -> float:
    """`temporal_proximity` of a single time.

    >>> one_proximity(3.0, [2.0, 9.0], sigma_s=1.0) == math.exp(-0.5)
    True
    """
    width = min(abs(cited_s - key) for key in key_s) / sigma_s
    return math.exp(-width * width / 2.0)


def share_inside(cited_s: Sequence[float], span_s: Span) -> float:
    """Share of the cited times that lie in the annotated segment, ends included; 0 when nothing is cited.

    Open-o3 Video, arXiv:2510.20579, sec. 3.3, r_t under segment supervision.

    >>> share_inside([1.0, 2.0, 9.0, 9.5], (1.0, 3.0))
    0.5
    """
    return sum(contains(span_s, t) for t in cited_s) / len(cited_s) if cited_s else 0.0


def nearest_frame(time_s: float, key_frames: Sequence[KeyFrame], gate_s: float | None) -> KeyFrame | None:
    """The temporal gate: the key frame nearest in time, None when it is further away than `gate_s` seconds.

    A claim passes when |t - t_gt| <= gate_s (Open-o3 Video, arXiv:2510.20579, sec. 3.3, temporal gating); of two
    frames equally near the first counts; a gate of None lets every time pass.

    Differs from the reference: it tests t_gt - t < 1, so any time after a key frame passes (reward_func.py:556).

    >>> frames = [KeyFrame(2.0, {}, None), KeyFrame(9.0, {}, None)]
    >>> nearest_frame(5.0, frames, 3.0).time_s, nearest_frame(5.1, frames, 3.0)
    (2.0, None)
    """
    if not key_frames or math.isnan(time_s):
        return None
    nearest = min(key_frames, key=lambda frame: abs(frame.time_s - time_s))
    return nearest if gate_s is None or abs(nearest.time_s - time_s) <= gate_s else None


def frame_iou(claimed: Sequence[Box], annotated: Mapping[str, Sequence[Box]]) -> float:
    """Best overlap of a claim with an annotated object of the frame, names aside, in [0, 1].

    max over objects of the mean over the object's boxes of the best claimed box (the reference's v_m; the paper has
    max IoU over predicted and annotated boxes, the same for one box an object).

    Returns:
        0 without objects; NaN when an annotated box is not four finite numbers.

    >>> frame_iou([(0.0, 0.0, 1.0, 1.0)], {"cat": [(0.0, 0.0, 1.0, 0.5)], "dog": [(0.0, 0.0, 1.0, 0.25)]})
    0.5
    """
    if not all(_is_readable(box) for boxes in annotated.values() for box in boxes):
        return math.nan
    return best_object(claimed, annotated)[1]


def best_object(claimed: Sequence[Box], annotated: Mapping[str, Sequence[Box]]) -> tuple[str | None, float]:
    """Name and overlap of the annotated object that a claim meets best, the first of equals; None without objects.

    >>> best_object([(0.0, 0.0, 1.0, 1.0)], {"cat": [(0.0, 0.0, 1.0, 0.25)], "dog": [(0.0, 0.0, 1.0, 0.5)]})
    ('dog', 0.5)
    """
    overlaps = [(name, _object_iou(claimed, boxes)) for name, boxes in annotated.items() if boxes]
    return max(overlaps, key=lambda pair: pair[1], default=(None, 0.0))


@dataclass(frozen=True)
class ClaimVerdict:
    """How a claim of the think block is judged.

    Attributes:
        claim: what is claimed.
        frame: the key frame that lets it pass the gate; None where the gate is closed.
        overlap: what it contributes to the sum over claims, 0 behind a closed gate.
    """

    claim: Claim
    frame: KeyFrame | None
    overlap: float


def judge_claims(
    claims: Sequence[Claim], key_frames: Sequence[KeyFrame], gate_s: float | None
) -> tuple[ClaimVerdict, ...]:
    """Gate and overlap of each claim; the overlap is NaN where an annotated box of its frame cannot be read.

    >>> frames = [KeyFrame(2.0, {"cat": ((0.0, 0.0, 1.0, 0.5),)}, None)]
    >>> claims = [Claim("cat", ((0.0, 0.0, 1.0, 1.0),), time_s) for time_s in (4.0, 9.0)]
    >>> [(verdict.frame is not None, verdict.overlap) for verdict in judge_claims(claims, frames, gate_s=3.0)]
    [(True, 0.5), (False, 0.0)]
    """
    frames = (nearest_frame(claim.time_s, key_frames, gate_s) for claim in claims)
    return tuple(
        ClaimVerdict(claim, frame, frame_iou(claim.boxes, frame.boxes) if frame else 0.0)
        for claim, frame in zip(claims, frames, strict=True)
    )


def gated_spatial(
    claims: Sequence[Claim], key_frames: Sequence[KeyFrame], gate_s: float | None, denominator: int
) -> float:
    """Spatial reward of a think block, in [0, 1]: sum over claims of gate * overlap, over a number of claims.

    r_s = (1 / M) * sum_m 1[|t_m - t_gt| <= gate_s] * v_m      Open-o3 Video, arXiv:2510.20579, eq. 4

    Args:
        claims: well-formed claims.
        key_frames: annotated moments.
        gate_s: seconds, None lets every claim pass.
        denominator: M, at least the number of claims.

    Returns:
        0 when nothing is claimed, NaN when nothing is annotated for what is claimed.

    >>> frames = [KeyFrame(2.0, {"cat": ((0.0, 0.0, 1.0, 0.5),)}, None)]
    >>> gated_spatial([Claim("cat", ((0.0, 0.0, 1.0, 1.0),), 4.0)], frames, gate_s=3.0, denominator=2)
    0.25
    """
    if not claims:
        return 0.0
    if not key_frames:
        return math.nan
    return sum(verdict.overlap for verdict in judge_claims(claims, key_frames, gate_s)) / denominator


def _is_readable(box: Sequence[float]) -> bool:
    return len(box) == 4 and all(math.isfinite(v) for v in box)


def _object_iou(claimed: Sequence[Box], boxes: Sequence[Box]) -> float:
    return sum(max((box_iou(box, one) for one in claimed), default=0.0) for box in boxes) / len(boxes)


@dataclass(frozen=True)
class ThkTemporalPoint:
    """Reward `thk_temporal_point`: `temporal_proximity` of all cited times, its width annealed over the run.

    Attributes:
        sigma_start_s: width at the start, seconds.
        sigma_end_s: width from `sigma_until` on, seconds.
        sigma_until: progress (0 to 1) at which annealing ends.
    """

    sigma_start_s: float
    sigma_end_s: float
    sigma_until: float
    tasks: ClassVar[frozenset[Task]] = frozenset({Task.TEMPORAL_SPATIAL})

    def __post_init__(self) -> None:
        if min(self.sigma_start_s, self.sigma_end_s) <= 0.0 or not 0.0 < self.sigma_until <= 1.0:
            raise ConfigError(
                f"thk_temporal_point: sigma_start_s={self.sigma_start_s} and sigma_end_s={self.sigma_end_s} must be "
                f"positive seconds, sigma_until={self.sigma_until} a progress in (0, 1]"
            )

    def __call__(self, completion: Completion, sample: Sample, progress: float) -> float:
        """0 when nothing is cited."""
        key_s = [frame.time_s for frame in sample.key_frames]
        return temporal_proximity(completion.think_times_s, key_s, self.sigma_s(progress))

    def sigma_s(self, progress: float) -> float:
        """Width at this progress, seconds."""
        return annealed_sigma(progress, self.sigma_start_s, self.sigma_end_s, self.sigma_until)


@dataclass(frozen=True)
class ThkTemporalSegment:
    """Reward `thk_temporal_segment`: `share_inside` of the cited times and the annotated segment."""

    tasks: ClassVar[frozenset[Task]] = TEMPORAL_TASKS

    def __call__(self, completion: Completion, sample: Sample, progress: float) -> float:
        """0 when nothing is cited."""
        return math.nan if sample.span_s is None else share_inside(completion.think_times_s, sample.span_s)


@dataclass(frozen=True)
class ThkSpatial:
    """Reward `thk_spatial`: `gated_spatial` for videos; for still images the best IoU of any box in the think block.

    Attributes:
        gate_s: temporal gate in seconds, inclusive; None switches it off.
        denominator: "times": M counts every time cited in the think block (the paper's eq. 4: a time without a box
            contributes 0); "claims": M counts the well-formed claims only (the released code).
    """

    gate_s: float | None
    denominator: str
    tasks: ClassVar[frozenset[Task]] = frozenset({Task.VISUAL_QA, Task.TEMPORAL_SPATIAL})

    def __post_init__(self) -> None:
        if self.denominator not in DENOMINATORS:
            raise ConfigError(f"thk_spatial: denominator={self.denominator!r} must be one of {DENOMINATORS}")
        if self.gate_s is not None and not self.gate_s >= 0.0:
            raise ConfigError(f"thk_spatial: gate_s={self.gate_s} must be seconds >= 0, or null for no gate")

    def __call__(self, completion: Completion, sample: Sample, progress: float) -> float:
        """0 without a think block or without an answer block."""
        if completion.think is None or completion.answer is None:
            return 0.0
        if sample.task == Task.VISUAL_QA:
            return self._still(completion.think_boxes, sample.box)
        return gated_spatial(completion.claims, sample.key_frames, self.gate_s, self.divisor(completion))

    def divisor(self, completion: Completion) -> int:
        """M of the mean, at least the number of claims."""
        counted = len(completion.think_times_s) if self.denominator == "times" else 0
        return max(len(completion.claims), counted)

    def verdicts(self, completion: Completion, sample: Sample) -> tuple[ClaimVerdict, ...]:
        """How the claims about a video are judged; () for still images, whose boxes are no claims."""
        if sample.task == Task.VISUAL_QA:
            return ()
        return judge_claims(completion.claims, sample.key_frames, self.gate_s)

    def diagnostics(self, completion: Completion, sample: Sample, progress: float) -> Mapping[str, float]:
        """`gate_open`: share of the claims that pass the gate, 0 without claims or for other tasks."""
        frames = [nearest_frame(claim.time_s, sample.key_frames, self.gate_s) for claim in completion.claims]
        return {"gate_open": sum(frame is not None for frame in frames) / len(frames) if frames else 0.0}

    @staticmethod
    def _still(boxes: Sequence[Box], annotated: Box | None) -> float:
        if not boxes:
            return 0.0
        return math.nan if annotated is None else max(box_iou(box, annotated) for box in boxes)
