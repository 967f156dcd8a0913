"""What travels from stage to stage: a candidate row, and what was decided about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from o3v.types import Box, KeyFrame, Span

KEPT, CHANGED, DROPPED = "kept", "changed", "dropped"


@dataclass(frozen=True)
class Candidate:
    """A row on its way.

    Attributes:
        id: unique in the run.
        source: name of the data set that it comes from.
        task: as given; a value of `o3v.types.Task`.
        video: media file below the media root, with slashes.
        question, answer: "" where the annotator is to write them.
        description: what is said to happen in the span; "" for nothing.
        span_s: the segment that it is about; None for the whole video.
        duration_s: of the video; 0 before the first stage has looked.
        reasoning: with normalised boxes; that of the source before `propose`, then the annotator's.
        key_frames: by time; empty before `propose`.
    """

    id: str
    source: str
    task: str
    video: str
    question: str
    answer: str
    description: str
    span_s: Span | None
    duration_s: float
    reasoning: str
    key_frames: tuple[KeyFrame, ...]


@dataclass(frozen=True)
class Decision:
    """One decision.

    Attributes:
        sample: id of the candidate.
        stage: where it was taken.
        verdict: `kept`, `changed` (a part of the row was dropped or rewritten) or `dropped` (the row).
        reason: a few fixed words, by which reports count; "" for a row that passed.
        values: what it was decided on.
    """

    sample: str
    stage: str
    verdict: str
    reason: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What a stage makes of one candidate.

    Attributes:
        candidate: as it goes on; None where it was dropped.
        decisions: at least one; the last says whether the row was kept.
    """

    candidate: Candidate | None
    decisions: tuple[Decision, ...]


class Notes:
    """Collects the decisions of one stage about one candidate."""

    def __init__(self, sample: str, stage: str) -> None:
        self._sample, self._stage = sample, stage
        self._decisions: list[Decision] = []

    def changed(self, reason: str, **values: object) -> None:
        """A part of the row was dropped or rewritten."""
        self._decisions.append(Decision(self._sample, self._stage, CHANGED, reason, values))

    def kept(self, candidate: Candidate, **values: object) -> Outcome:
        """The row goes on."""
        return Outcome(candidate, (*self._decisions, Decision(self._sample, self._stage, KEPT, "", values)))

    def dropped(self, reason: str, **values: object) -> Outcome:
        """The row ends here."""
        return Outcome(None, (*self._decisions, Decision(self._sample, self._stage, DROPPED, reason, values)))


def to_plain(candidate: Candidate) -> dict[str, Any]:
    """A candidate as JSON's types; `from_plain` is the inverse."""
    frames = [
        {"time_s": frame.time_s, "boxes": {name: [list(box) for box in boxes] for name, boxes in frame.boxes.items()}}
        for frame in candidate.key_frames
    ]
    return asdict(candidate) | {"key_frames": frames, "span_s": list(candidate.span_s) if candidate.span_s else None}


def from_plain(plain: Mapping[str, Any]) -> Candidate:
    """The candidate of `to_plain`.

    >>> one = Candidate("a", "s", "t", "v.mp4", "", "", "", (1.0, 2.0), 3.0, "", ())
    >>> from_plain(to_plain(one)) == one
    True
    """
    span_s = plain["span_s"]
    frames = tuple(
        KeyFrame(frame["time_s"], {name: tuple(map(_box, boxes)) for name, boxes in frame["boxes"].items()}, None)
        for frame in plain["key_frames"]
    )
    return Candidate(**{**plain, "span_s": (span_s[0], span_s[1]) if span_s else None, "key_frames": frames})


def filter_boxes(frames: tuple[KeyFrame, ...], keeps: Callable[[KeyFrame, str, Box], bool]) -> tuple[KeyFrame, ...]:
    """Key frames with the boxes that `keeps` says; names and frames that are left without one go too.

    >>> frames = (KeyFrame(1.0, {"a": ((0.0, 0.0, 1.0, 1.0),), "b": ((0.0, 0.0, 0.5, 0.5),)}, None),)
    >>> [list(frame.boxes) for frame in filter_boxes(frames, lambda frame, name, box: box[2] < 1)]
    [['b']]
    """
    left = []
    for frame in frames:
        boxes = {name: tuple(box for box in of if keeps(frame, name, box)) for name, of in frame.boxes.items()}
        boxes = {name: of for name, of in boxes.items() if of}
        if boxes:
            left.append(KeyFrame(frame.time_s, boxes, frame.image_path))
    return tuple(left)


def _box(values: list[float]) -> Box:
    x1, y1, x2, y2 = values
    return x1, y1, x2, y2
