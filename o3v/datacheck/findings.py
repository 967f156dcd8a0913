"""What a check can find: kinds, their severity, and one finding as it is reported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from o3v.errors import ConfigError

Severity = Literal["error", "warning", "off"]

KINDS: dict[str, str] = {
    "unreadable": "a field is missing, of another type, or cannot be read",
    "broken_json": "the row's text is no JSON, or its bytes are no UTF-8",
    "row_time_limit": "reading the row took longer than the limit, or ended the worker",
    "media_missing": "the media file does not exist, or leads out of the data root",
    "media_unreadable": "the media file cannot be opened, or a wanted frame cannot be decoded",
    "media_time_limit": "opening and decoding took longer than the limit; the worker was killed",
    "media_crash": "the decoder ended its process",
    "picture_missing": "the still picture of a key frame does not exist",
    "image_size": "image_size is not the size of the image, so that boxes in pixels are wrong",
    "duration": "the published length is not that of the file",
    "key_frame_outside": "a key frame lies outside the clip by more than the tolerance",
    "key_frame_edge": "a key frame lies outside the clip within the tolerance",
    "key_frame_twice": "two key frames of one time",
    "key_frame_no_box": "a key frame without a box",
    "unused_boxes": "key_items holds boxes under a number that no key frame has",
    "span_empty": "a segment without a length",
    "span_outside": "a segment outside the clip by more than the tolerance",
    "span_edge": "a segment outside the clip within the tolerance",
    "part_outside": "the part of the file that is asked about is not in the file",
    "box_outside": "a box sticks out of the frame by more than the tolerance",
    "box_edge": "a box sticks out of the frame within the tolerance, and is cut to it",
    "box_empty": "a box without an area",
    "box_large": "a box covers more than the largest share of the frame",
    "reasoning_time": "the reasoning cites a time that is no key frame",
    "reasoning_box": "the reasoning cites a box that is not annotated",
    "reasoning_pair": "the reasoning cites an annotated box at the time of another key frame",
    "reasoning_name": "the reasoning cites an object that no annotation of that time names",
    "letter": "the correct option is not among the question's options",
    "duplicate_row": "the same row, but for its id, stands further up",
    "duplicate_question": "the same question about the same media stands further up",
    "leak_content": "a benchmark asks about a file with the same content",
    "leak_name": "a benchmark asks about a file of the same name",
    "leak_id": "a benchmark asks about another part of the same video, by its id",
    "budget_frame": "one frame alone takes more vision tokens than the budget",
    "budget_frames": "the budget of vision tokens drops frames",
    "budget_prompt": "the prompt takes more tokens than allowed",
    "budget_answer": "the text to learn takes more tokens than a completion may have",
}
"""Every kind of finding and what it means."""


@dataclass(frozen=True)
class Severities:
    """Kind of finding -> error (counts for the exit code, left out by clean), warning (reported) or off."""

    unreadable: Severity
    broken_json: Severity
    row_time_limit: Severity
    media_missing: Severity
    media_unreadable: Severity
    media_time_limit: Severity
    media_crash: Severity
    picture_missing: Severity
    image_size: Severity
    duration: Severity
    key_frame_outside: Severity
    key_frame_edge: Severity
    key_frame_twice: Severity
    key_frame_no_box: Severity
    unused_boxes: Severity
    span_empty: Severity
    span_outside: Severity
    span_edge: Severity
    part_outside: Severity
    box_outside: Severity
    box_edge: Severity
    box_empty: Severity
    box_large: Severity
    reasoning_time: Severity
    reasoning_box: Severity
    reasoning_pair: Severity
    reasoning_name: Severity
    letter: Severity
    duplicate_row: Severity
    duplicate_question: Severity
    leak_content: Severity
    leak_name: Severity
    leak_id: Severity
    budget_frame: Severity
    budget_frames: Severity
    budget_prompt: Severity
    budget_answer: Severity

    def __post_init__(self) -> None:
        """Reject other words."""
        for field in fields(self):
            if getattr(self, field.name) not in ("error", "warning", "off"):
                raise ConfigError(
                    f"severity.{field.name}={getattr(self, field.name)!r}: allowed are error, warning and off"
                )

    def of(self, kind: str) -> Severity:
        """Severity of a kind."""
        severity: Severity = getattr(self, kind)
        return severity


@dataclass(frozen=True)
class Fact:
    """A finding before it is known which row it belongs to.

    Attributes:
        kind: key of `KINDS`.
        message: names the field, the value and what is allowed.
    """

    kind: str
    message: str


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with one row.

    Attributes:
        row: number of the row, from 1.
        id: as published, made unique; `row-N` without one.
        source, task: of the row; `?` where unreadable.
        kind: key of `KINDS`.
        severity: error or warning.
        message: names the field, the value and what is allowed.
    """

    row: int
    id: str
    source: str
    task: str
    kind: str
    severity: str
    message: str

    def as_line(self) -> dict[str, Any]:
        """The finding as it is written to JSON lines."""
        return asdict(self)


def short(value: object, limit: int = 80) -> str:
    """A value as a message shows it.

    >>> short([0.5, 1])
    '[0.5, 1]'
    """
    text = str(value)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def first_errors(findings: Sequence[Finding]) -> dict[int, Finding]:
    """Number of a row -> its first finding of severity error."""
    found: dict[int, Finding] = {}
    for finding in findings:
        if finding.severity == "error":
            found.setdefault(finding.row, finding)
    return found
