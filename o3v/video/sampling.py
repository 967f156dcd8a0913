"""Which moments of a video the model sees: spread evenly, with annotated key frames merged in by true time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from o3v.errors import ConfigError


@dataclass(frozen=True)
class FrameSampling:
    """How many frames are taken, and whether annotated key frames are shown.

    Attributes:
        max_frames: most frames of the even spread; key frames come on top (paper: 16).
        min_frames: fewest, as far as the video has so many (paper: 4).
        fps: frames wanted per second of video, between the two bounds (paper: 2).
        insert_key_frames: show the annotated key frames too (paper: yes). They do not exist at inference, and in RL
            their times are what the rewards ask for, so this is an ablation switch.
    """

    max_frames: int
    min_frames: int
    fps: float
    insert_key_frames: bool

    def __post_init__(self) -> None:
        """Reject settings under which no frame could be chosen."""
        if not 1 <= self.min_frames <= self.max_frames:
            raise ConfigError(
                f"sampling.min_frames={self.min_frames}, sampling.max_frames={self.max_frames}: "
                "wanted 1 <= min_frames <= max_frames"
            )
        if not (np.isfinite(self.fps) and self.fps > 0):
            raise ConfigError(f"sampling.fps={self.fps}: wanted a number above 0")

    def n_frames(self, length_s: float) -> int:
        """Frames of the even spread for a video of this length: fps times length, even, within the bounds.

        Differs from the reference: bounds are taken as they are, not rounded to even numbers
        (src/r1-v/src/open_r1/vision_process.py, smart_nframes).

        >>> sampling = FrameSampling(max_frames=16, min_frames=4, fps=2.0, insert_key_frames=True)
        >>> [sampling.n_frames(s) for s in (0.5, 4.9, 60.0)]
        [4, 8, 16]
        """
        # the tiny amount keeps 2.0 fps * 3.0 s at 6 when the length came out as 2.9999999
        even = 2 * int((length_s * self.fps + 1e-6) // 2)
        return min(max(even, self.min_frames), self.max_frames)

    def plan_times(
        self, frame_times_s: Sequence[float] | np.ndarray, duration_s: float, key_times_s: Sequence[float]
    ) -> tuple[float, ...]:
        """True times of the frames to show, ascending, each frame once.

        The even spread runs from the first frame to the last (both included), each point moved to the nearest frame.
        A key time stands for the frame on the screen at it. Both are merged by true presentation time.

        Differs from the reference: it labels frame i with i / sample_fps although the spread ends at the last frame
        (vision_process.py:252, up to 1/16 of the length off), and it drops or misorders key frames
        (grpo_trainer.py:520-532).

        Args:
            frame_times_s: [N] presentation times of all frames, ascending, N >= 1.
            duration_s: second at which the last frame stops being shown.
            key_times_s: annotated moments, any order; ignored unless `insert_key_frames`.

        >>> sampling = FrameSampling(max_frames=4, min_frames=2, fps=1.0, insert_key_frames=True)
        >>> sampling.plan_times([0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5], 4.0, [1.7])
        (0.0, 1.0, 1.5, 2.5, 3.5)
        """
        times = np.asarray(frame_times_s, dtype=np.float64)
        n_frames = self.n_frames(duration_s - float(times[0]))
        chosen = set(even_spread(times, n_frames).tolist())
        if self.insert_key_frames:
            chosen.update(frame_on_screen(times, key_s) for key_s in key_times_s)
        return tuple(float(times[i]) for i in sorted(chosen))


def even_spread(times_s: np.ndarray, n_frames: int) -> np.ndarray:
    """Numbers of at most `n_frames` frames spread evenly in time, first and last included; all where fewer exist.

    At a constant rate this is round(linspace(0, N - 1, n)), ties to even, as in the reference.

    >>> even_spread(np.arange(10) / 10, 4)
    array([0, 3, 6, 9])
    """
    n_frames = min(n_frames, len(times_s))
    targets_s = np.linspace(times_s[0], times_s[-1], n_frames)
    positions = np.interp(targets_s, times_s, np.arange(len(times_s)))
    # ties are decided on the position as a decimal number, not on its floating-point noise
    return np.unique(np.rint(np.round(positions, 6)).astype(np.int64))


def frame_on_screen(times_s: np.ndarray, time_s: float) -> int:
    """Number of the last frame shown at or before `time_s`; the first where none is.

    >>> frame_on_screen(np.array([0.0, 0.5, 1.0]), 0.99)
    1
    """
    return max(int(np.searchsorted(times_s, time_s + 1e-6, side="right")) - 1, 0)
