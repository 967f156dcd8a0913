"""Boxes that are none, lie outside the frame, or hold nearly all of it are dropped."""

from __future__ import annotations

from dataclasses import dataclass, replace

from o3v.curation.items import Candidate, Notes, Outcome, filter_boxes
from o3v.curation.propose import count_boxes
from o3v.grounding.boxes import area, clip, is_valid
from o3v.types import Box, KeyFrame

STAGE = "boxes"


@dataclass(frozen=True)
class BoxCheck:
    """The third stage (arXiv:2510.20579, A.3: boxes over 80 % of the frame are dropped).

    Attributes:
        max_area: largest share of the frame, included.
        min_area: smallest share, included.
        tolerance: how far, as a share of the frame, a box may stick out; it is cut to the frame.
    """

    max_area: float
    min_area: float
    tolerance: float

    def outcome(self, candidate: Candidate) -> Outcome:
        """The candidate with the boxes that pass."""
        notes = Notes(candidate.id, STAGE)

        def keeps(frame: KeyFrame, name: str, box: Box) -> bool:
            fault = self.fault(box)
            if fault:
                notes.changed(fault, time_s=frame.time_s, name=name, box=list(box), area=round(area(box), 4))
            return not fault

        frames = filter_boxes(candidate.key_frames, keeps)
        if not frames:
            return notes.dropped("no box left")
        inside = tuple(
            replace(frame, boxes={name: tuple(map(clip, boxes)) for name, boxes in frame.boxes.items()})
            for frame in frames
        )
        return notes.kept(replace(candidate, key_frames=inside), boxes=count_boxes(inside))

    def fault(self, box: Box) -> str:
        """What is wrong with a normalised box; "" for nothing.

        >>> check = BoxCheck(0.8, 0.0001, 0.02)
        >>> [check.fault(box) for box in ((0.0, 0.0, 1.0, 0.9), (0.5, 0.5, 0.1, 0.1), (0.0, 0.0, 1.5, 0.1), (0.1,) * 4)]
        ['box too large', 'box has no area', 'box outside the frame', 'box has no area']
        """
        if not is_valid(box):
            return "box has no area"
        if min(box) < -self.tolerance or max(box) > 1 + self.tolerance or not is_valid(clip(box)):
            return "box outside the frame"
        if area(clip(box)) > self.max_area:
            return "box too large"
        return "box too small" if area(clip(box)) < self.min_area else ""
