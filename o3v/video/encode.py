"""Frames -> MP4, for the generated world's clips and for evidence films."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from o3v.errors import StorageError


def write_video(
    path: Path,
    frames: np.ndarray | Iterable[np.ndarray],
    fps: float,
    crf: int = 18,
    gop: int = 12,
) -> None:
    """Writes an H.264 MP4 without sound; the same frames give the same bytes.

    Frame k gets the presentation time k / fps. Sizes that are odd are padded by one row or column that repeats the
    edge, because yuv420p needs even ones. One thread: small clips are fastest so, and bytes do not depend on cores.

    Args:
        path: the file; its folder is made, and it appears only when it is whole.
        frames: [T, H, W, 3] uint8 RGB, or its frames one by one, all of one size; at least one.
        fps: frames a second, above 0.
        crf: quality, 0 (lossless up to the colour conversion) to 51.
        gop: frames from one key frame to the next.

    Raises:
        ValueError: no frame, a frame of another type or size, or fps not above 0.
        StorageError: the file cannot be written.
    """
    if not fps > 0:
        raise ValueError(f"fps={fps}: must be above 0")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _encode(temporary, iter(frames), Fraction(fps).limit_denominator(100_000), {"crf": crf, "g": gop})
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"{path}: cannot write ({error.strerror or error})") from error


def repeat_video(path: Path, source: Path, repeats: int) -> None:
    """Writes a long film by repeating a short one's packets at later times: nothing is encoded again.

    Args:
        path: the MP4; appears only when it is whole.
        source: an MP4 of `write_video`, which starts with a key frame; its pictures come `repeats` times.
        repeats: at least 1.

    Raises:
        StorageError: the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _remux(temporary, source, repeats)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"{path}: cannot write ({error.strerror or error})") from error


def _remux(path: Path, source: Path, repeats: int) -> None:
    with (
        av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as sink,
        av.open(str(source)) as film,
    ):
        inside = film.streams.video[0]
        outside = sink.add_stream_from_template(inside)
        length = sum(packet.duration or 0 for packet in film.demux(inside) if packet.size)
        for number in range(repeats):
            film.seek(0, stream=inside)
            for packet in film.demux(inside):
                if packet.dts is not None and packet.pts is not None:
                    packet.pts, packet.dts = packet.pts + number * length, packet.dts + number * length
                    packet.stream = outside
                    sink.mux(packet)


def even(frame: np.ndarray) -> np.ndarray:
    """Repeats the last row and column of an image with an odd height or width.

    >>> even(np.zeros((3, 4, 3), dtype=np.uint8)).shape
    (4, 4, 3)
    """
    height, width = frame.shape[:2]
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge") if height % 2 or width % 2 else frame


def _encode(path: Path, frames: Iterable[np.ndarray], rate: Fraction, options: dict[str, int]) -> None:
    shape: Sequence[int] | None = None
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.pix_fmt = "yuv420p"
        # x264's macroblock tree reads memory that it never wrote at these sizes: one film in 20 had other bytes
        fixed = {"threads": "1", "x264-params": "no-mbtree=1"}
        stream.options = {**fixed, **{key: str(value) for key, value in options.items()}}
        stream.codec_context.time_base = stream.time_base = 1 / rate
        for index, frame in enumerate(frames):
            shape = shape or frame.shape
            if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or frame.shape != shape:
                raise ValueError(f"frame {index}: {frame.shape} {frame.dtype}, expected [H, W, 3] uint8 like the first")
            if index == 0:
                stream.height, stream.width = even(frame).shape[:2]
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(even(frame)), format="rgb24")
            picture.pts, picture.time_base = index, 1 / rate
            container.mux(stream.encode(picture))
        if shape is None:
            raise ValueError("no frame to write")
        container.mux(stream.encode(None))
