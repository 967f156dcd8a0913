"""What an annotator is: a model that is shown pictures between words and replies with a text."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from o3v.curation.language import BoxLanguage
from o3v.errors import ConfigError

FORMATS = ("json", "tags")


@dataclass(frozen=True)
class Ask:
    """One question to an annotator.

    Attributes:
        system: system text; "" for none.
        parts: a text, or a frame's index, in order.
        frames: [H, W, 3] uint8 RGB, all of one size.
        times_s: [T] presentation times of the frames; empty for a still picture.
    """

    system: str
    parts: tuple[str | int, ...]
    frames: np.ndarray
    times_s: tuple[float, ...]

    @property
    def size_px(self) -> tuple[int, int]:
        """(width, height) of the frames."""
        return self.frames.shape[2], self.frames.shape[1]

    def identity(self) -> list[Any]:
        """System text and parts, frames by size and the hash of their pixels: what the kept reply is known by."""
        parts = [part if isinstance(part, str) else _picture(self.frames[part]) for part in self.parts]
        return [self.system, parts]


class Annotator(Protocol):
    """What conf/annotator describes."""

    @property
    def name(self) -> str:
        """Model and settings, all that its replies depend on; no address and no key."""

    @property
    def boxes(self) -> BoxLanguage:
        """How it writes boxes."""

    @property
    def format(self) -> str:
        """How it writes a proposal: `json`, or `tags` (the grammar alone: `<think>..</think><answer>..</answer>`)."""

    @property
    def factor(self) -> int:
        """Sides of frames sent to it are multiples of this many pixels."""

    @property
    def workers(self) -> int:
        """Questions that may be under way at a time."""

    def reply(self, ask: Ask) -> str:
        """Its reply.

        Raises:
            RequestFailed: none to this question; others may be answered.
            ServiceError: it is away.
        """


def check_format(name: str) -> None:
    """Raises ConfigError for an unknown format."""
    if name not in FORMATS:
        raise ConfigError(f"annotator.format={name!r} is not allowed; allowed are {list(FORMATS)}")


def _picture(frame: np.ndarray) -> dict[str, str]:
    digest = hashlib.sha256(np.ascontiguousarray(frame).tobytes()).hexdigest()
    return {"picture": f"{frame.shape[1]}x{frame.shape[0]} sha256:{digest}"}
