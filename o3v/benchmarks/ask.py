"""Question -> Prompt: frames with their true times, further pictures, then the text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from o3v.benchmarks.question import FRAMES, Question
from o3v.errors import MediaError
from o3v.prompts.build import interleave
from o3v.types import BoxScale, Clip, Prompt, Span
from o3v.video.decode import read_image
from o3v.video.geometry import resize
from o3v.video.reader import Reader

Media = tuple[Path | None, Path | None, Span | None]


class Conventions(Protocol):
    """What a model family's table says about frames (`o3v.models.family.Family`)."""

    @property
    def factor(self) -> int:
        """Frame sides are multiples of this many pixels."""

    def box_scale(self, size_px: tuple[int, int]) -> BoxScale:
        """Units of boxes on frames of (width, height)."""


@dataclass(frozen=True)
class QuestionPreparer:
    """`prepare` of a `Respondent`. Keeps the last clip: consecutive questions of one video decode it once and share it.

    Annotated key frames are never shown: they do not exist where a question is asked.

    Attributes:
        reader: decodes and resizes.
        family: how big frames are and how boxes are written.
    """

    reader: Reader
    family: Conventions
    _last: dict[Media, Clip | MediaError] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __call__(self, question: Question) -> Prompt:
        """What the model is shown and asked.

        Raises:
            MediaError: video, image or a further picture cannot be read.
        """
        clip = self._clip(question)
        scale = self.family.box_scale(clip.size_px)
        parts: tuple[str | int, ...] = interleave(clip)
        if question.image_paths:
            parts, clip = _with_pictures(parts, clip, question.image_paths)
        before, _, after = question.text.rpartition(FRAMES)
        texts = ((before,) if before else (), (after,) if after else ())
        return Prompt(question.system, (*texts[0], *parts, *texts[1]), clip, scale, None)

    def _clip(self, question: Question) -> Clip:
        media = (question.video_path, question.image_path, question.span_s)
        if media not in self._last:
            self._last.clear()
            self._last[media] = _read(lambda: self._decode(question))
        clip = self._last[media]
        if isinstance(clip, MediaError):
            raise clip
        return clip

    def _decode(self, question: Question) -> Clip:
        if question.video_path is not None:
            return self.reader.read_video(question.video_path, (), self.family.factor, question.span_s)
        if question.image_path is not None:
            return self.reader.read_image(question.image_path, self.family.factor)
        raise MediaError(question.id, "the question names neither a video nor an image")


def _read(decode: Callable[[], Clip]) -> Clip | MediaError:
    try:
        return decode()
    except MediaError as error:
        return error


def _with_pictures(
    parts: tuple[str | int, ...], clip: Clip, paths: tuple[Path, ...]
) -> tuple[tuple[str | int, ...], Clip]:
    """Pictures behind the video's frames, each under its number, on a canvas of the frames' size."""
    width, height = clip.size_px
    pictures = [_on_canvas(read_image(path), width, height) for path in paths]
    first = len(clip.frames)
    named: list[str | int] = []
    for number in range(len(pictures)):
        named += [f"Picture {number + 1}: ", first + number, "\n"]
    return (*parts, *named), replace(clip, frames=np.concatenate([clip.frames, np.stack(pictures)]))


def _on_canvas(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """[height, width, 3] the whole picture, as large as it fits, centred on black."""
    scale = min(width / image.shape[1], height / image.shape[0])
    inner = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    canvas = np.zeros((height, width, 3), dtype=np.uint8)
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    canvas[top : top + inner[1], left : left + inner[0]] = resize(image, inner[1], inner[0])
    return canvas
