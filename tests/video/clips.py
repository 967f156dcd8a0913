"""Video files written by the tests: every frame shows its own number as a bar code, so that a wrong one is seen."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

BITS = 10
"""Bars in a frame: numbers up to 1023."""


def bar_code(number: int, width: int = 160, height: int = 96) -> np.ndarray:
    """[H, W, 3] vertical bars, white for a set bit, most significant left; the top eighth white, the bottom black.

    The unequal ends show whether a picture has been turned.
    """
    frame = np.zeros((height, width, 3), dtype=np.uint8)
    for column in range(width):
        bit = BITS - 1 - column * BITS // width
        frame[:, column] = 235 if number >> bit & 1 else 20
    frame[: height // 8] = 235
    frame[-(height // 8) :] = 20
    return frame


def read_code(frame: np.ndarray) -> int:
    """The number that a decoded frame shows (upright)."""
    height, width = frame.shape[:2]
    centres = [int((i + 0.5) * width / BITS) for i in range(BITS)]
    rows = frame[height * 3 // 8 : height * 5 // 8]
    bits = [rows[:, max(c - 1, 0) : c + 2].mean() > 128 for c in centres]
    return sum(1 << (BITS - 1 - i) for i, bit in enumerate(bits) if bit)


def write_clip(
    path: Path,
    times_s: list[float],
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    size_px: tuple[int, int] = (160, 96),
    pix_fmt: str = "yuv420p",
) -> Path:
    """A video whose frame n is shown at times_s[n] (milliseconds kept) and carries the number n."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height = size_px
        stream.pix_fmt = pix_fmt
        stream.codec_context.time_base = Fraction(1, 1000)
        for number, time_s in enumerate(times_s):
            frame = av.VideoFrame.from_ndarray(bar_code(number, *size_px), format="rgb24")
            frame.pts = round(time_s * 1000)
            frame.time_base = Fraction(1, 1000)
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
    return path


def even_times(n_frames: int, fps: float = 25.0, start_s: float = 0.0) -> list[float]:
    """Times of a constant frame rate in whole milliseconds."""
    return [round(start_s + n / fps, 3) for n in range(n_frames)]


def uneven_times(n_frames: int, seed: int = 0) -> list[float]:
    """Times with gaps between 10 and 300 ms."""
    gaps = np.random.default_rng(seed).integers(10, 300, n_frames)
    return [float(t) for t in np.round((np.cumsum(gaps) - gaps[0]) / 1000, 3)]


def decode_all(path: Path) -> list[tuple[float, int]]:
    """(presentation time, bar code) of every frame by plain sequential decoding: the truth to compare with."""
    with av.open(str(path)) as container:
        return [(f.time, read_code(f.to_ndarray(format="rgb24"))) for f in container.decode(video=0)]


def turned(path: Path, matrix: tuple[int, int, int, int]) -> Path:
    """Write a, b, c, d of the display matrix (ISO 14496-12: x' = ax + cy, y' = bx + dy) into the mp4's track header."""
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4 + 40  # version 0: the matrix stands 40 bytes into the box's body
    a, b, c, d = (v * 65536 for v in matrix)
    data[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path
