"""Frame prompts as the released code writes them in its two stages; to reproduce its inputs, not used for training.

Open-o3 Video: sft_multi_task.py collate_fn, grpo_trainer.py compute_loss. `o3v.prompts.build.interleave` is the
corrected way: one form for every stage, all frames in order of their true times.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from o3v.errors import ConfigError
from o3v.types import Task

STAGES: Final = ("sft", "rl")
IMAGE: Final = "<|vision_start|><|image_pad|><|vision_end|>"
PROCESSOR_OPTIONS: Final[Mapping[str, Mapping[str, object]]] = {
    "sft": {"padding": True, "do_resize": False},
    "rl": {"padding": True, "padding_side": "left", "add_special_tokens": False},
}
"""Stage -> options with which the released code calls the model's processor."""

Place = tuple[str, int]
"""("video", position among the sampled frames) or ("key", position among the key frames)."""


@dataclass(frozen=True)
class FramePrompt:
    """What replaces the video's placeholder.

    Attributes:
        text: labels and image tokens.
        order: the frames in the order in which the model gets them.
        dropped: positions of the key frames that are not shown.
    """

    text: str
    order: tuple[Place, ...]
    dropped: tuple[int, ...]


def reference_frame_prompt(
    stage: str, task: str, count: int, sample_fps: float, total_s: int, key_times_s: Sequence[float]
) -> FramePrompt:
    r"""The released code's frame prompt.

    Sampled frame k is labelled k / sample_fps, to 0.1 s. RL labels key frames by whole seconds, SFT as annotated; a key
    frame is placed before the first sampled frame whose time, cut to whole seconds, reaches it, so one behind the last,
    or behind an unplaced one, is dropped. RL ends with the length of the video; SFT does so for tasks without boxes
    only, and writes their labels without "s".

    Args:
        stage: sft or rl.
        task: of the sample.
        count: sampled frames.
        sample_fps: by which they are labelled (they drift, see `o3v.video.reference`).
        total_s: whole seconds of the video.
        key_times_s: annotated times, in the order of the annotation.

    Example:
        >>> task = "temporal-spatial free-form QA"
        >>> prompt = reference_frame_prompt("rl", task, 2, 1.0, 2, [0.4, 7.0])
        >>> print(prompt.text.replace(IMAGE, "@"), prompt.order, prompt.dropped)
        Frame 1 at 0s: @
        Frame 2 at 0.0s: @
        Frame 3 at 1.0s: @
        The video is in total 2 seconds.
         (('key', 0), ('video', 0), ('video', 1)) (1,)
    """
    if stage not in STAGES:
        raise ConfigError(f"stage={stage!r} must be one of {STAGES}")
    spatial = task == Task.TEMPORAL_SPATIAL
    keys = [round(time_s) if stage == "rl" else time_s for time_s in key_times_s] if spatial else []
    labelled: list[tuple[Place, float]] = []
    placed = 0
    for position in range(count):
        time_s = position / sample_fps
        while placed < len(keys) and keys[placed] <= int(time_s):
            labelled.append((("key", placed), keys[placed]))
            placed += 1
        labelled.append((("video", position), round(time_s, 1)))
    unit = "s" if stage == "rl" or spatial else ""
    lines = [f"Frame {k} at {label}{unit}: {IMAGE}\n" for k, (_, label) in enumerate(labelled, start=1)]
    if stage == "rl" or not spatial:
        lines.append(f"The video is in total {total_s} seconds.\n")
    return FramePrompt("".join(lines), tuple(place for place, _ in labelled), tuple(range(placed, len(key_times_s))))


def order_by_time(frame_times_s: Sequence[float], key_times_s: Sequence[float]) -> tuple[tuple[Place, float], ...]:
    """All frames in order of their true times, the key frame first on ties: the corrected order.

    >>> [place for place, _ in order_by_time([0.0, 2.0, 4.0], [2.0, 9.0])]
    [('video', 0), ('key', 0), ('video', 1), ('video', 2), ('key', 1)]
    """
    keys = [(("key", k), float(time_s)) for k, time_s in enumerate(key_times_s)]
    frames = [(("video", k), float(time_s)) for k, time_s in enumerate(frame_times_s)]
    return tuple(sorted(keys + frames, key=lambda one: one[1]))  # stable: keys stand first
