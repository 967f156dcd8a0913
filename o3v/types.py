"""The nouns of the project: what travels between the packages, and in which units.

Coordinates are boxes `(x1, y1, x2, y2)` normalised to the frame, 0 to 1, everywhere inside the program. They become
the model's own numbers (`BoxScale`) only where a text for the model is written or a text of the model is read.
Times are seconds from the start of the video.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2, normalised to the frame (0 to 1)."""

Span = tuple[float, float]
"""start and end in seconds."""


class Task(StrEnum):
    """The six tasks of STGR, under the strings that the published rows carry."""

    VISUAL_QA = "visual QA"
    TEMPORAL_QA = "temporal QA"
    TEMPORAL_MCQ = "temporal QA (MCQ)"
    TEMPORAL_SPATIAL = "temporal-spatial free-form QA"
    GENERAL_MCQ = "General video QA MCQ"
    GENERAL_FREE_FORM = "General video QA Free-form"


@dataclass(frozen=True)
class BoxScale:
    """The units in which a model writes boxes: a normalised box times (width, height).

    Qwen2.5-VL writes pixels of the resized frame, so the scale is that frame's size; Qwen3-VL writes 0 to 1000.
    """

    width: float
    height: float

    def to_model(self, box: Box) -> tuple[int, int, int, int]:
        """Normalised box to the integers that the model writes.

        >>> BoxScale(84, 84).to_model((0.5, 0.0, 1.0, 0.3333))
        (42, 0, 84, 28)
        """
        x1, y1, x2, y2 = box
        return round(x1 * self.width), round(y1 * self.height), round(x2 * self.width), round(y2 * self.height)

    def to_unit(self, box: Box) -> Box:
        """The model's numbers to a normalised box; values outside the frame stay outside.

        >>> BoxScale(1000, 1000).to_unit((250, 0, 500, 1000))
        (0.25, 0.0, 0.5, 1.0)
        """
        x1, y1, x2, y2 = box
        return x1 / self.width, y1 / self.height, x2 / self.width, y2 / self.height


@dataclass(frozen=True)
class KeyFrame:
    """One annotated moment of a video.

    Attributes:
        time_s: seconds from the start of the video.
        boxes: object name -> its boxes in this frame, in the order of the annotation; may be empty.
        image_path: still picture of the moment, where the data set ships one.
    """

    time_s: float
    boxes: Mapping[str, tuple[Box, ...]]
    image_path: Path | None


@dataclass(frozen=True)
class Sample:
    """One validated row of a data set.

    Attributes:
        id: unique within its data set.
        source: the data set's name for where the row comes from; weights of a mix refer to it.
        task: which of the six tasks.
        question: as published, options included.
        answer: what `<answer>` should hold, boxes in it normalised. For temporal tasks the sentence
            `From <t>a</t>s to <t>b</t>s`, for temporal MCQ followed by the line `Correct Option: X`.
        reasoning: what `<think>` should hold (SFT), boxes normalised; empty in RL rows.
        video_path, image_path: the media file; exactly one of them is set.
        key_frames: annotated moments by time; empty where the task has none.
        span_s: annotated segment of temporal tasks.
        box: annotated box of visual QA.
        letter: correct option of multiple-choice tasks.
        pass_rate: share of a model's attempts that were right, 0 to 1, where it is known.
    """

    id: str
    source: str
    task: Task
    question: str
    answer: str
    reasoning: str
    video_path: Path | None
    image_path: Path | None
    key_frames: tuple[KeyFrame, ...]
    span_s: Span | None
    box: Box | None
    letter: str | None
    pass_rate: float | None = None


@dataclass(frozen=True)
class Clip:
    """Decoded frames of a sample, resized for the model.

    Attributes:
        frames: [T, H, W, 3] uint8 RGB.
        times_s: [T] presentation times in seconds, ascending; empty for a still image (T = 1).
        duration_s: length of the video; 0 for a still image.
        original_size_px: (width, height) of the source after rotation.
    """

    frames: np.ndarray
    times_s: tuple[float, ...]
    duration_s: float
    original_size_px: tuple[int, int]

    @property
    def size_px(self) -> tuple[int, int]:
        """(width, height) of the resized frames."""
        return self.frames.shape[2], self.frames.shape[1]


@dataclass(frozen=True)
class Prompt:
    """What the model is asked, before tokenization.

    Attributes:
        system: the task's system text.
        parts: the user's turn in order: a string is text, an integer the index of a frame of `clip` (an image), a tuple
            of indices one native video of these frames, ascending.
        clip: the frames.
        box_scale: units of boxes in `target` and in what the model will write.
        target: the assistant's turn (SFT), boxes in the model's units; None where there is none to learn.
    """

    system: str
    parts: tuple[str | int | tuple[int, ...], ...]
    clip: Clip
    box_scale: BoxScale
    target: str | None


@dataclass(frozen=True)
class Claim:
    """One grounded statement `<obj>name</obj><box>[..]</box>at<t>time</t>s` of a model's text.

    Attributes:
        name: text between the obj tags, stripped.
        boxes: one or more, normalised.
        time_s: the cited time.
    """

    name: str
    boxes: tuple[Box, ...]
    time_s: float


@dataclass(frozen=True)
class Completion:
    """A model's text, read by `o3v.grounding.parse.parse_completion`; every field is defined for every text.

    Attributes:
        text: the raw text.
        think: content of the first think block, None if there is none.
        answer: content of the answer block (after the thinking where there is one), None if there is none.
        claims: well-formed claims inside `think`, in order.
        think_times_s: every readable `<t>` inside `think`.
        think_boxes: every readable box inside `think`, normalised.
        answer_box: first readable box of `answer`, normalised.
        answer_span_s: the segment that `answer` names.
        answer_letter: the option letter that `answer` names, upper case.
        box_scale: the units in which `text` writes its boxes.
    """

    text: str
    think: str | None
    answer: str | None
    claims: tuple[Claim, ...]
    think_times_s: tuple[float, ...]
    think_boxes: tuple[Box, ...]
    answer_box: Box | None
    answer_span_s: Span | None
    answer_letter: str | None
    box_scale: BoxScale = BoxScale(1.0, 1.0)


@dataclass(frozen=True)
class Rollout:
    """G completions for each of B prompts, with the log-probabilities under which they were drawn.

    Attributes:
        ids: [B*G, L] long, right-padded; consecutive blocks of G rows belong to one prompt.
        completion_mask: [B*G, L] bool, True on tokens up to and including EOS.
        logprobs: [B*G, L] nats under the sampling policy at its temperature, 0 where masked.
        texts: B*G decoded texts without special tokens.
        group_size: G.
    """

    ids: Tensor
    completion_mask: Tensor
    logprobs: Tensor
    texts: tuple[str, ...]
    group_size: int


@dataclass(frozen=True)
class RewardTable:
    """Rewards of one prompt's completions.

    Attributes:
        terms: names of the K terms, the columns of `values`.
        values: G rows of K values; 0 where a term does not apply to the task.
        applies: K booleans: does the term apply to this sample's task.
        totals: G weighted sums.
        diagnostics: extra columns for logging, name -> G values (for example `gate_open`: share of claims that pass
            the temporal gate). Not part of the total.
        weights: K weights of the terms in the total; empty where a table was made without them.
    """

    terms: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]
    applies: tuple[bool, ...]
    totals: tuple[float, ...]
    diagnostics: Mapping[str, tuple[float, ...]]
    weights: tuple[float, ...] = ()
