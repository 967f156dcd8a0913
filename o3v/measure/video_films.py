"""Films to decode: H.264 with B-frames and rare key frames, whose every frame shows its own number."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from o3v.video.encode import repeat_video, write_video

BITS = 10
"""Bars of a frame's number, along the upper edge."""


@dataclass(frozen=True)
class Film:
    """A film at a constant rate.

    Attributes:
        length_s: seconds.
        size_px: (width, height).
        fps: frames a second, whole.
        gop: frames from one key frame to the next.
        segment_s: seconds of pictures that are encoded; a longer film repeats their packets. Seconds times rate are a
            multiple of `gop`, at most 1,024 frames.
    """

    length_s: int
    size_px: tuple[int, int]
    fps: int
    gop: int
    segment_s: int

    @property
    def n_frames(self) -> int:
        """Frames of the film."""
        return self.length_s * self.fps

    @property
    def name(self) -> str:
        """File name that tells all settings."""
        width, height = self.size_px
        return f"{width}x{height}-{self.fps}fps-gop{self.gop}-{self.segment_s}of{self.length_s}s.mp4"

    def number(self, frame: int) -> int:
        """The number that frame `frame` shows."""
        return frame % (self.segment_s * self.fps)

    def even_times(self, n_frames: int) -> tuple[float, ...]:
        """True times of an even spread, first and last frame included."""
        return tuple(int(i) / self.fps for i in np.rint(np.linspace(0, self.n_frames - 1, n_frames)))


def make_film(film: Film, folder: Path) -> Path:
    """The film's file in `folder`, made where it is not there yet."""
    path = folder / film.name
    if path.is_file():
        return path
    segment = folder / f"segment-{film.name}"
    frames = pictures(film.size_px, min(film.segment_s, film.length_s) * film.fps)
    write_video(segment, frames, film.fps, crf=23, gop=film.gop)
    repeat_video(path, segment, max(film.length_s // film.segment_s, 1))
    segment.unlink()
    return path


def pictures(size_px: tuple[int, int], n_frames: int) -> Iterator[np.ndarray]:
    """[H, W, 3] frames: a camera that pans over a rough surface, some grain, a moving square, and the number on top."""
    width, height = size_px
    rng = np.random.default_rng(0)
    surface = _surface(rng, width + 512, height + 128)
    grain = rng.integers(0, 4, (4, height, width, 1), dtype=np.uint8)
    for number in range(n_frames):
        x, y = number * 2 % 512, int(64 + 60 * np.sin(number / 40))
        frame = surface[y : y + height, x : x + width] + grain[number % 4]
        left = number * 5 % (width - height // 6)
        frame[height // 2 : height // 2 + height // 6, left : left + height // 6] = (210, 60, 40)
        frame[: height // 12] = _bars(number, width)
        yield frame


def read_number(frame: np.ndarray) -> int:
    """The number that a decoded frame of at least 160 pixels' width shows."""
    height, width = frame.shape[:2]
    row = frame[height // 30 : height // 16].mean(axis=(0, 2))
    centres = [int((i + 0.5) * width / BITS) for i in range(BITS)]
    return sum(1 << (BITS - 1 - i) for i, centre in enumerate(centres) if row[centre - 2 : centre + 3].mean() > 128)


def _surface(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Noise of several grains, as a photograph has; 0 to about 250, so that some is left for the film's own."""
    total = np.zeros((height, width, 3))
    for step, share in ((64, 90), (16, 70), (4, 50), (2, 30)):
        coarse = rng.random((height // step + 1, width // step + 1, 3)) * share
        total += np.kron(coarse, np.ones((step, step, 1)))[:height, :width]
    return total.astype(np.uint8)


def _bars(number: int, width: int) -> np.ndarray:
    bits = np.array([number >> (BITS - 1 - column * BITS // width) & 1 for column in range(width)])
    return (20 + 215 * bits).astype(np.uint8)[None, :, None]
