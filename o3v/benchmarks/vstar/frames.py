"""Which frames the released V-STaR runner shows, and the lines it writes between them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from o3v.errors import ConfigError

FRAME = "<|vision_start|><|image_pad|><|vision_end|>"


def frame_indices(
    total_frames: int, video_fps: float, sample_fps: float, max_frames: int, unreadable: Collection[int] = ()
) -> list[int]:
    """Numbers of the frames shown: every `video_fps / sample_fps`-th, or `max_frames` spread from first to last.

    The spread truncates to whole frames. Frames that the decoder cannot read are left out, not replaced.

    Args:
        total_frames: of the video.
        video_fps: of the video.
        sample_fps: frames wanted a second (V-STaR: 1).
        max_frames: most of them (16).
        unreadable: numbers of broken frames.

    Raises:
        ValueError: a rate of 0, or a short video with fewer frames a second than wanted.

    Example:
        >>> frame_indices(24, 10.0, 1.0, 16), frame_indices(100, 10.0, 1.0, 4)
        ([0, 10, 20], [0, 33, 66, 99])
    """
    if video_fps <= 0 or sample_fps <= 0:
        raise ValueError(f"{video_fps} frames a second of video, {sample_fps} wanted: both must be above 0")
    step = int(video_fps / sample_fps)
    if int(total_frames / video_fps * sample_fps) > max_frames:
        chosen = np.linspace(0, total_frames - 1, max_frames, dtype=int).tolist()
    elif step < 1:
        raise ValueError(f"{sample_fps} frames a second wanted of {video_fps}: no step of whole frames")
    else:
        chosen = list(range(0, total_frames, step))[:max_frames]
    return [index for index in chosen if index not in unreadable]


@dataclass(frozen=True)
class VStarSampling:
    """The released choice of frames for `data.reader.sampling`: `frame_indices` on a video's own frames and times.

    Attributes:
        fps: frames wanted a second (1).
        max_frames: most frames (16).
    """

    fps: float
    max_frames: int

    def __post_init__(self) -> None:
        """Reject settings under which no frame could be chosen."""
        if self.fps <= 0 or self.max_frames < 1:
            raise ConfigError(f"sampling.fps={self.fps}, max_frames={self.max_frames}: wanted both above 0")

    @property
    def insert_key_frames(self) -> bool:
        """Nothing annotated is shown."""
        return False

    def plan_times(
        self, frame_times_s: Sequence[float] | np.ndarray, duration_s: float, key_times_s: Sequence[float]
    ) -> tuple[float, ...]:
        """True times of the frames to show, ascending; of a video slower than `fps` every frame, up to the most.

        >>> VStarSampling(1.0, 4).plan_times([0.0, 0.5, 1.0, 1.5, 2.0], 2.5, [])
        (0.0, 1.0, 2.0)
        """
        times_s = np.asarray(frame_times_s, dtype=np.float64)
        rate = len(times_s) / max(duration_s - float(times_s[0]), 1e-9)
        chosen = frame_indices(len(times_s), rate, min(self.fps, rate), self.max_frames)
        return tuple(float(times_s[index]) for index in chosen)


def frame_lines(times_s: Sequence[float]) -> str:
    r"""One line a frame with its true time.

    >>> frame_lines([1.26])
    'Frame 1 at 1.3s: <|vision_start|><|image_pad|><|vision_end|>\n'
    """
    lines = (f"Frame {number} at {round(time, 1)}s: {FRAME}\n" for number, time in enumerate(times_s, start=1))
    return "".join(lines)
