"""Frames as the released code chooses, labels and sizes them; to reproduce its inputs, never used for training here.

Open-o3 Video, vision_process.py (smart_nframes, smart_resize, fetch_video, fetch_image) at a head of its public
history, a fork of qwen_vl_utils. The corrected ways stand beside it: `o3v.video.sampling`, `o3v.video.geometry`.
Where the released code raises, these functions raise ValueError or ZeroDivisionError with its message.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

FACTOR: Final = 28
PAIR: Final = 2
FPS: Final = 2.0
MIN_FRAMES: Final = 4
MAX_FRAMES: Final = 16
IMAGE_MIN_PIXELS: Final = 4 * 28 * 28
IMAGE_MAX_PIXELS: Final = 256 * 28 * 28
VIDEO_PIXELS: Final = 128 * 28 * 28
"""Both the smallest and the largest area of a video frame (defect V2)."""
VIDEO_TOTAL_PIXELS: Final = 128_000 * 28 * 28 * 0.9
MAX_ASPECT: Final = 200


@dataclass(frozen=True)
class SampledFrames:
    """Frames of a video as the released code takes them.

    Attributes:
        indices: source frame numbers, from the first to the last.
        sample_fps: frames taken over the length, by which it labels them.
        label_times_s: what its prompts show: position / sample_fps, rounded to 0.1 s.
        true_times_s: index / rate.
        total_s: whole seconds of the line "The video is in total".
    """

    indices: tuple[int, ...]
    sample_fps: float
    label_times_s: tuple[float, ...]
    true_times_s: tuple[float, ...]
    total_s: int


def sample_frames(options: Mapping[str, float], total_frames: int, fps: float) -> SampledFrames:
    """Which frames of a video are taken, and the times that they are said to have.

    The spread ends at the last frame, the labels at total / n before it, so labels lag by up to length / n (defect V1,
    `label-time-drift`); corrected are the true times.

    Args:
        options: fps, or nframes; min_frames, max_frames. Empty: 2 frames a second, 4 to 16.
        total_frames: of the video.
        fps: of the video.

    Example:
        >>> sampled = sample_frames({}, total_frames=20, fps=10)
        >>> sampled.indices, sampled.label_times_s, sampled.true_times_s
        ((0, 6, 13, 19), (0.0, 0.5, 1.0, 1.5), (0.0, 0.6, 1.3, 1.9))
    """
    count = frame_count(options, total_frames, fps)
    indices = tuple(int(index) for index in np.rint(_spread(total_frames - 1, count)))
    sample_fps = count / max(total_frames, 1e-6) * fps
    return SampledFrames(
        indices=indices,
        sample_fps=sample_fps,
        label_times_s=tuple(round(position / sample_fps, 1) for position in range(count)),
        true_times_s=tuple(index / fps for index in indices),
        total_s=int(count / sample_fps),
    )


def frame_count(options: Mapping[str, float], total_frames: int, fps: float) -> int:
    """How many frames are taken: an even number, of pairs rounded half to even for `nframes`, down otherwise.

    Raises:
        ValueError: both fps and nframes are given, or fewer than two frames would be taken.

    >>> frame_count({}, 49, 10), frame_count({"nframes": 5}, 49, 10)
    (8, 4)
    """
    if "fps" in options and "nframes" in options:
        raise ValueError("AssertionError: Only accept either `fps` or `nframes`")
    if "nframes" in options:
        count = round(options["nframes"] / PAIR) * PAIR
    else:
        least = math.ceil(options.get("min_frames", MIN_FRAMES) / PAIR) * PAIR
        most = math.floor(options.get("max_frames", min(MAX_FRAMES, total_frames)) / PAIR) * PAIR
        wanted = total_frames / fps * options.get("fps", FPS)
        count = math.floor(min(min(max(wanted, least), most), total_frames) / PAIR) * PAIR
    if not PAIR <= count <= total_frames:
        raise ValueError(f"ValueError: nframes should in interval [{PAIR}, {total_frames}], but got {count}.")
    return count


def smart_resize(
    height: int,
    width: int,
    factor: int = FACTOR,
    min_pixels: float = IMAGE_MIN_PIXELS,
    max_pixels: float = IMAGE_MAX_PIXELS,
) -> tuple[int, int]:
    """Size of a frame for the vision tower; leaves its own limits in some shapes (`result-outside-pixel-range`).

    Returns:
        (height, width).

    Raises:
        ValueError: one side is more than 200 times the other.

    >>> smart_resize(100, 100, 28, 100352, 105369)
    (336, 336)
    """
    aspect = max(height, width) / min(height, width)
    if aspect > MAX_ASPECT:
        raise ValueError(f"ValueError: absolute aspect ratio must be smaller than {MAX_ASPECT}, got {aspect}")
    rounded = max(factor, round(height / factor) * factor), max(factor, round(width / factor) * factor)
    if rounded[0] * rounded[1] > max_pixels:
        shrink = math.sqrt(height * width / max_pixels)
        return math.floor(height / shrink / factor) * factor, math.floor(width / shrink / factor) * factor
    if rounded[0] * rounded[1] < min_pixels:
        grow = math.sqrt(min_pixels / (height * width))
        return math.ceil(height * grow / factor) * factor, math.ceil(width * grow / factor) * factor
    return rounded


def video_frame_size(options: Mapping[str, int], count: int, height: int, width: int) -> tuple[int, int]:
    """(height, width) of the frames of a video of which `count` are taken.

    Args:
        options: min_pixels, max_pixels, total_pixels of all frames, or resized_height and resized_width.
        count: frames taken.
        height: of the source.
        width: of the source.

    >>> video_frame_size({}, 4, 1920, 1080)
    (420, 224)
    """
    least = options.get("min_pixels", VIDEO_PIXELS)
    total = options.get("total_pixels", VIDEO_TOTAL_PIXELS)
    most = max(min(VIDEO_PIXELS, total / count * PAIR), int(least * 1.05))
    most = min(options.get("max_pixels", most), most)
    return _given(options) or smart_resize(height, width, FACTOR, least, most)


def image_size(options: Mapping[str, int], height: int, width: int) -> tuple[int, int]:
    """(height, width) of a still image.

    >>> image_size({}, 627, 2030)
    (224, 784)
    """
    least, most = options.get("min_pixels", IMAGE_MIN_PIXELS), options.get("max_pixels", IMAGE_MAX_PIXELS)
    return _given(options) or smart_resize(height, width, FACTOR, least, most)


def _given(options: Mapping[str, int]) -> tuple[int, int] | None:
    if "resized_height" not in options or "resized_width" not in options:
        return None
    return smart_resize(options["resized_height"], options["resized_width"])


def _spread(last: int, count: int) -> np.ndarray:
    """Positions of an even spread in single precision, the second half counted from its end, as torch has it."""
    step = np.float32(last) / np.float32(count - 1)
    position = np.arange(count, dtype=np.float32)
    from_end = np.float32(last) - step * (np.float32(count - 1) - position)
    return np.where(position < count // 2, step * position, from_end)
