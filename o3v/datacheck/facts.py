"""What the check keeps of a row, and of a media file: small, plain, remembered from run to run."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from o3v.datacheck.findings import Fact


@dataclass(frozen=True)
class RowFacts:
    """What later steps need of a row.

    Attributes:
        id: as published; "" without one.
        source, task: `?` where unreadable.
        media: path of the video or image; None where the row tells none.
        folder: of its source, in which `media` must stay.
        is_image: whether `media` is a still image.
        pictures: still pictures of the key frames.
        key_times_s: times of the key frames, ascending.
        span_s: annotated segment; start may be at or behind the end.
        part_s: the part of the file that is the clip; None for all of it.
        duration_s: published length of the clip; None without one.
        image_size_px: published size of the image.
        content: digest of the row without its id.
        question: digest of question and media.
        prompt_tokens: of system text and question.
        answer_tokens: of the text to learn; 0 without one.
        facts: what is wrong with the row by itself.
    """

    id: str
    source: str
    task: str
    media: str | None
    folder: str | None
    is_image: bool
    pictures: tuple[str, ...]
    key_times_s: tuple[float, ...]
    span_s: tuple[float, float] | None
    part_s: tuple[float, float] | None
    duration_s: float | None
    image_size_px: tuple[float, float] | None
    content: str
    question: str
    prompt_tokens: int
    answer_tokens: int
    facts: tuple[Fact, ...]

    def as_dict(self) -> dict[str, Any]:
        """As it is remembered."""
        return asdict(self)

    @staticmethod
    def from_dict(values: dict[str, Any]) -> RowFacts:
        """What `as_dict` wrote."""
        lists = {key: tuple(value) for key, value in values.items() if isinstance(value, list) and key != "facts"}
        return RowFacts(**{**values, **lists, "facts": tuple(Fact(**fact) for fact in values["facts"])})


def unknown_row(fact: Fact, published_id: str = "", source: str = "?", task: str = "?") -> RowFacts:
    """A row of which nothing but its fault can be said."""
    return RowFacts(
        id=published_id,
        source=source,
        task=task,
        media=None,
        folder=None,
        is_image=False,
        pictures=(),
        key_times_s=(),
        span_s=None,
        part_s=None,
        duration_s=None,
        image_size_px=None,
        content="",
        question="",
        prompt_tokens=0,
        answer_tokens=0,
        facts=(fact,),
    )


@dataclass(frozen=True)
class MediaFacts:
    """What a media file is.

    Attributes:
        fault: why it cannot be used; None where it can. The numbers are then meaningless.
        kind: of the fault, a key of `findings.KINDS`.
        first_s, end_s: first frame's time, and when the last one stops being shown; 0 for an image.
        n_frames: frames in the file, 1 for an image.
        width, height: after rotation.
    """

    fault: str | None
    kind: str
    first_s: float
    end_s: float
    n_frames: int
    width: int
    height: int

    def as_dict(self) -> dict[str, Any]:
        """As it is remembered."""
        return asdict(self)


def unusable(kind: str, fault: str) -> MediaFacts:
    """A media file that cannot be used."""
    return MediaFacts(fault, kind, 0.0, 0.0, 0, 0, 0)
