"""Which frame of a clip a claim and an annotation belong to, and what is to be drawn there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from o3v.evidence.frame import Labelled
from o3v.types import Clip, Completion, Sample


@dataclass(frozen=True)
class CitedFrame:
    """A frame of a clip with its boxes.

    Attributes:
        index: of the frame in the clip.
        times_s: the times that the model cites here, ascending; empty where it cites none.
        claimed: (name, box) of the model.
        annotated: (name, box) of the annotation.
    """

    index: int
    times_s: tuple[float, ...]
    claimed: tuple[Labelled, ...]
    annotated: tuple[Labelled, ...]


def nearest_frame(times_s: Sequence[float], time_s: float) -> int:
    """Index of the frame nearest in time, the earlier of equals; 0 for a still image, which has no times.

    >>> nearest_frame((0.0, 1.0, 2.0), 1.6), nearest_frame((), 5.0)
    (2, 0)
    """
    return min(range(len(times_s)), key=lambda k: abs(times_s[k] - time_s), default=0)


def cited_frames(clip: Clip, completion: Completion, sample: Sample | None) -> list[CitedFrame]:
    """Every frame of the clip with what the model claims there and what is annotated there, in order of time.

    A claim belongs to the frame nearest to the time that it cites, an annotation to the one nearest to its key frame.
    For a still image the answer's box, the boxes of the reasoning and the annotated box all belong to the image.
    """
    frames = range(len(clip.frames))
    if not clip.times_s:
        return [CitedFrame(0, (), _still_claims(completion), _still_annotation(sample))][: len(frames)]
    claimed: dict[int, list[Labelled]] = {k: [] for k in frames}
    cited: dict[int, set[float]] = {k: set() for k in frames}
    annotated: dict[int, list[Labelled]] = {k: [] for k in frames}
    for claim in completion.claims:
        index = nearest_frame(clip.times_s, claim.time_s)
        cited[index].add(claim.time_s)
        claimed[index] += [(claim.name, box) for box in claim.boxes]
    for key_frame in sample.key_frames if sample else ():
        index = nearest_frame(clip.times_s, key_frame.time_s)
        annotated[index] += [(name, box) for name, boxes in key_frame.boxes.items() for box in boxes]
    return [CitedFrame(k, tuple(sorted(cited[k])), tuple(claimed[k]), tuple(annotated[k])) for k in frames]


def _still_claims(completion: Completion) -> tuple[Labelled, ...]:
    claims = [(claim.name, box) for claim in completion.claims for box in claim.boxes]
    if completion.answer_box is not None:
        claims.append(("answer", completion.answer_box))
    return tuple(claims)


def _still_annotation(sample: Sample | None) -> tuple[Labelled, ...]:
    if sample is None:
        return ()
    boxes = [(name, box) for key in sample.key_frames for name, named in key.boxes.items() for box in named]
    return tuple([*boxes, ("answer", sample.box)] if sample.box is not None else boxes)
