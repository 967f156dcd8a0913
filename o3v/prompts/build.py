"""Sample + Clip -> Prompt: the one place that decides what a model is shown and asked."""

from __future__ import annotations

from o3v.grounding.render import render_target, rewrite_boxes
from o3v.prompts.system import SYSTEM_TEXTS
from o3v.types import BoxScale, Clip, Prompt, Sample


def interleave(clip: Clip) -> tuple[str | int, ...]:
    r"""The frames of a clip with their true times: `Frame k at t s`, then the length of the video.

    A still image stands alone, without a time. Times are presentation times, rounded to 0.1 s.

    Differs from the reference: one form for every stage (it has four, defect S6), true times (its labels drift by up
    to duration / n, defect V1), annotated key frames labelled like all others (defect T7).

    Example:
        >>> import numpy as np
        >>> frames = np.zeros((2, 28, 28, 3), np.uint8)
        >>> interleave(Clip(frames, (0.0, 1.52), 3.0, (28, 28)))
        ('Frame 1 at 0.0s: ', 0, '\nFrame 2 at 1.5s: ', 1, '\nThe video is in total 3.0 seconds.\n')
        >>> interleave(Clip(frames[:1], (), 0.0, (28, 28)))
        (0, '\n')
    """
    if not clip.times_s:
        return (0, "\n")
    parts: list[str | int] = []
    for index, time_s in enumerate(clip.times_s):
        newline = "\n" if index else ""
        parts += [f"{newline}Frame {index + 1} at {time_s:.1f}s: ", index]
    return (*parts, f"\nThe video is in total {clip.duration_s:.1f} seconds.\n")


def build_prompt(sample: Sample, clip: Clip, box_scale: BoxScale) -> Prompt:
    """What the model is asked about a sample, and what it should say where the row has an answer to learn.

    Args:
        sample: the row; boxes in its texts are normalised.
        clip: its frames as the model will see them.
        box_scale: the units in which this model writes boxes on these frames.
    """
    parts = (*interleave(clip), sample.question)
    return Prompt(SYSTEM_TEXTS[sample.task], parts, clip, box_scale, _target(sample, box_scale))


def _target(sample: Sample, box_scale: BoxScale) -> str | None:
    if not sample.reasoning:
        return None
    text = render_target(sample.reasoning, sample.answer)
    return rewrite_boxes(text, box_scale.to_model)
