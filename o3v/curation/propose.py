"""An annotator is shown a video and writes question, answer, key frames, boxes and reasoning."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

from o3v.curation.annotator import Ask
from o3v.curation.asking import Asking
from o3v.curation.items import Candidate, Notes, Outcome
from o3v.curation.prompts import PromptTexts
from o3v.curation.proposal import Proposal, Shown, merged, read_proposal
from o3v.curation.sources import inside
from o3v.errors import MediaError
from o3v.prompts.build import interleave
from o3v.prompts.system import SYSTEM_TEXTS
from o3v.types import Clip, KeyFrame, Task
from o3v.video.reader import ClipReader

STAGE = "propose"
GIVEN_TASKS = (Task.TEMPORAL_SPATIAL, Task.GENERAL_FREE_FORM)
"""Tasks whose question and answer can stand in a spatio-temporal row; others have tags or letters in theirs."""


@dataclass(frozen=True)
class ProposalLimits:
    """What of a proposal is taken (arXiv:2510.20579, A.3: 1-5 key frames, 1-3 objects a frame).

    Attributes:
        max_key_frames: the first ones by time are taken.
        max_objects: names in a key frame.
        max_time_error_s: a key frame is moved to the nearest frame that the annotator was shown, at most so far.
    """

    max_key_frames: int
    max_objects: int
    max_time_error_s: float


@dataclass(frozen=True)
class Proposer:
    """The second stage.

    Attributes:
        asking: whom to ask.
        reader: which frames are shown.
        prompts: what is asked.
        limits: what is taken.
        media_root: folder below which the videos lie.
    """

    asking: Asking
    reader: ClipReader
    prompts: PromptTexts
    limits: ProposalLimits
    media_root: Path

    def outcome(self, candidate: Candidate) -> Outcome:
        """Ask about one row. Raises ServiceError where the annotator is away."""
        notes = Notes(candidate.id, STAGE)
        path = inside(self.media_root, candidate.video)
        try:
            if path is None:
                raise MediaError(candidate.video, "no file below the media root")
            clip = self.reader.read_video(path, (), self.asking.annotator.factor, None)
        except MediaError as error:
            return notes.dropped("media", detail=error.reason)
        reply = self.asking.reply(self._ask(candidate, clip), candidate.id, STAGE)
        if reply.fault:
            return notes.dropped("no reply", detail=reply.fault)
        annotator = self.asking.annotator
        found = read_proposal(reply.text, annotator.format, annotator.boxes, Shown(clip.size_px, clip.times_s))
        if isinstance(found, str):
            return notes.dropped("unreadable proposal", detail=found, text=reply.text[:200])
        return self._taken(candidate, found, clip, notes)

    def _ask(self, candidate: Candidate, clip: Clip) -> Ask:
        frames = interleave(clip)
        if self.asking.annotator.format == "tags":
            asked = candidate.question or candidate.description
            return Ask(SYSTEM_TEXTS[Task.TEMPORAL_SPATIAL], (*frames, asked), clip.frames, clip.times_s)
        text = self.prompts.fill(*self._wanted(candidate, clip))
        return Ask(self.prompts.fill("system", {}), (*frames, text), clip.frames, clip.times_s)

    def _wanted(self, candidate: Candidate, clip: Clip) -> tuple[str, dict[str, object]]:
        """Which text is asked, and what fills its places."""
        values: dict[str, object] = {
            "boxes": self.asking.annotator.boxes.sentence(clip.size_px),
            "frames": self.limits.max_key_frames,
            "objects": self.limits.max_objects,
            "duration_s": f"{clip.duration_s:.1f}",
        }
        if has_given_answer(candidate):
            return "question", values | {"question": candidate.question, "answer": candidate.answer}
        values["description"] = candidate.description or candidate.question
        if candidate.span_s is None:
            return "caption", values
        return "segment", values | {"start_s": f"{candidate.span_s[0]:.1f}", "end_s": f"{candidate.span_s[1]:.1f}"}

    def _taken(self, candidate: Candidate, found: Proposal, clip: Clip, notes: Notes) -> Outcome:
        for part in found.unread:
            notes.changed("unreadable part", detail=part)
        frames = self._limited(self._snapped(found.key_frames, clip, notes), notes)
        given = has_given_answer(candidate)
        question, answer = (candidate.question, candidate.answer) if given else (found.question, found.answer)
        if self.asking.annotator.format == "tags" and not given:
            question = candidate.question or candidate.description
        missing = {
            "no key frames": not frames,
            "no reasoning": not found.reasoning,
            "no question or answer": not question.strip() or not answer.strip(),
        }
        for reason, is_missing in missing.items():
            if is_missing:
                return notes.dropped(reason)
        if not given:
            notes.changed("question and answer written", question=question, answer=answer)
        changed = replace(candidate, question=question, answer=answer, reasoning=found.reasoning, key_frames=frames)
        return notes.kept(changed, key_frames=len(frames), boxes=count_boxes(frames))

    def _snapped(self, frames: tuple[KeyFrame, ...], clip: Clip, notes: Notes) -> tuple[KeyFrame, ...]:
        """Key frames at the frames that were shown."""
        objects = []
        for frame in frames:
            nearest_s = min(clip.times_s, key=lambda time_s: abs(time_s - frame.time_s))
            if abs(nearest_s - frame.time_s) > self.limits.max_time_error_s:
                notes.changed("no shown frame at the time", time_s=frame.time_s, nearest_s=round(nearest_s, 3))
                continue
            objects += [(_up(nearest_s), name, boxes) for name, boxes in frame.boxes.items()]
        return merged(objects)

    def _limited(self, frames: tuple[KeyFrame, ...], notes: Notes) -> tuple[KeyFrame, ...]:
        """The first key frames, and the first objects of each."""
        most = self.limits.max_key_frames
        if len(frames) > most:
            notes.changed("too many key frames", key_frames=len(frames), taken=most)
        limited = []
        for frame in frames[:most]:
            if len(frame.boxes) > self.limits.max_objects:
                notes.changed("too many objects", time_s=frame.time_s, objects=len(frame.boxes))
            boxes = dict(list(frame.boxes.items())[: self.limits.max_objects])
            limited.append(KeyFrame(frame.time_s, boxes, None))
        return tuple(limited)


def has_given_answer(candidate: Candidate) -> bool:
    """Whether question and answer are given and fit a spatio-temporal row."""
    given = candidate.question.strip() and candidate.answer.strip() and "<" not in candidate.answer
    return bool(given) and candidate.task in [str(task) for task in GIVEN_TASKS]


def count_boxes(frames: tuple[KeyFrame, ...]) -> int:
    """Boxes of key frames.

    >>> count_boxes((KeyFrame(0.0, {"a": ((0, 0, 1, 1), (0, 0, 1, 0.5))}, None),))
    2
    """
    return sum(len(boxes) for frame in frames for boxes in frame.boxes.values())


def _up(time_s: float) -> float:
    """Three decimals, rounded up: the frame on the screen at that time is still this one."""
    return math.ceil(time_s * 1000 - 1e-6) / 1000
