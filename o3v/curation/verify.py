"""Each box is cut out and a model is asked whether it shows what it is said to show."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from o3v.curation.annotator import Ask
from o3v.curation.asking import Asking
from o3v.curation.items import Candidate, Notes, Outcome, filter_boxes
from o3v.curation.prompts import PromptTexts
from o3v.curation.proposal import read_yes
from o3v.curation.propose import count_boxes
from o3v.curation.sources import inside
from o3v.errors import MediaError
from o3v.grounding.parse import find_claims
from o3v.types import Box, BoxScale, KeyFrame
from o3v.video.decode import decode_at
from o3v.video.geometry import ResizePlan, is_too_thin, resize

STAGE, SENTENCES = "verify", "sentences"
UNREADABLE = "neither yes nor no"
_TAGS = re.compile(r"<box>[^<]*</box>|</?(?:obj|box|t)>")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[^\s<a-z])")


@dataclass(frozen=True)
class CropView:
    """How a box is cut out.

    Attributes:
        margin: of each side of the box, added around it.
        min_pixels, max_pixels: area to which the crop is resized.
    """

    margin: float
    min_pixels: int
    max_pixels: int

    def cut(self, frame: np.ndarray, box: Box, factor: int) -> np.ndarray:
        """The crop of a normalised box, [H, W, 3], sides multiples of `factor`."""
        height, width = frame.shape[:2]
        x1, x2 = _edges(box[0], box[2], width, self.margin)
        y1, y2 = _edges(box[1], box[3], height, self.margin)
        crop = frame[y1:y2, x1:x2]
        if is_too_thin(*crop.shape[:2]):
            thick_enough = -(-max(crop.shape[:2]) // 100)
            crop = np.pad(crop, [(0, max(0, thick_enough - side)) for side in crop.shape[:2]] + [(0, 0)])
        return resize(crop, *ResizePlan(factor, self.min_pixels, self.max_pixels).smart_resize(*crop.shape[:2]))


@dataclass(frozen=True)
class Verifier:
    """Yes/no questions about crops (arXiv:2510.20579, A.3: `Is this a {object_name}?`, only "yes" is kept).

    Attributes:
        asking: whom to ask.
        view: how crops are cut; those of sentences too.
        prompts: what is asked.
        media_root: folder below which the videos lie.
    """

    asking: Asking
    view: CropView
    prompts: PromptTexts
    media_root: Path

    def outcome(self, candidate: Candidate) -> Outcome:
        """The candidate with the boxes that the model recognises."""
        notes = Notes(candidate.id, STAGE)
        try:
            frames = self.frames_of(candidate, [frame.time_s for frame in candidate.key_frames])
        except MediaError as error:
            return notes.dropped("media", detail=error.reason)

        def keeps(frame: KeyFrame, name: str, box: Box) -> bool:
            fault = self._fault(candidate, frames[frame.time_s], box, self.prompts.fill("crop", {"name": name}), STAGE)
            if fault:
                notes.changed(fault, time_s=frame.time_s, name=name, box=list(box))
            return not fault

        left = filter_boxes(candidate.key_frames, keeps)
        if not left:
            return notes.dropped("no box left")
        return notes.kept(replace(candidate, key_frames=left), boxes=count_boxes(left))

    def sentences(self, candidate: Candidate) -> Outcome:
        """The candidate where every sentence with a claim fits the claim's crop (A.4: mismatches are dropped)."""
        notes = Notes(candidate.id, SENTENCES)
        asked = [
            (found.claim, sentence_at(candidate.reasoning, found.start, found.end))
            for found in find_claims(candidate.reasoning, BoxScale(1, 1))
            if found.claim is not None
        ]
        try:
            frames = self.frames_of(candidate, [claim.time_s for claim, _ in asked])
        except MediaError as error:
            return notes.dropped("media", detail=error.reason)
        for claim, sentence in asked:
            text = self.prompts.fill("sentence", {"name": claim.name, "sentence": sentence})
            fault = self._fault(candidate, frames[claim.time_s], claim.boxes[0], text, SENTENCES)
            if fault:
                return notes.dropped(fault, sentence=sentence, name=claim.name, time_s=claim.time_s)
        return notes.kept(candidate, sentences=len(asked))

    def frames_of(self, candidate: Candidate, times_s: Sequence[float]) -> Mapping[float, np.ndarray]:
        """The frame on the screen at each time, in the size of the file. Raises MediaError."""
        path = inside(self.media_root, candidate.video)
        if path is None:
            raise MediaError(candidate.video, "no file below the media root")
        frames, shown_s = decode_at(path, times_s)
        return {time_s: frames[max(bisect_right(shown_s, time_s + 1e-4) - 1, 0)] for time_s in times_s}

    def _fault(self, candidate: Candidate, frame: np.ndarray, box: Box, text: str, stage: str) -> str:
        crop = self.view.cut(frame, box, self.asking.annotator.factor)
        reply = self.asking.reply(Ask("", (0, text), crop[None], ()), candidate.id, stage)
        if reply.fault:
            return "no reply"
        says = read_yes(reply.text)
        return UNREADABLE if says is None else "" if says else "answered no"


def sentence_at(text: str, start: int, end: int) -> str:
    """The sentence around a claim, without tags and box numbers.

    >>> text = "It rains. A <obj>dog</obj><box>[0,0,1,1]</box>at<t>2.0</t>s runs. Then it stops."
    >>> sentence_at(text, 12, 55)
    'A dog at 2.0 s runs.'
    """
    ends = [0, *(found.end() for found in _SENTENCE_END.finditer(text)), len(text)]
    first = max(cut for cut in ends if cut <= start)
    last = min(cut for cut in ends if cut >= end)
    plain = text[first:last].replace("</box>at<t>", "</box> at <t>").replace("</t>s", "</t> s")
    return " ".join(_TAGS.sub("", plain).split())


def _edges(low: float, high: float, length: int, margin: float) -> tuple[int, int]:
    """First and last pixel of a side with its margin, at least one pixel inside the frame."""
    extra = (high - low) * margin
    first = min(max(int((low - extra) * length), 0), length - 1)
    return first, min(max(round((high + extra) * length), first + 1), length)
