"""Readers of frames at wanted times: this project's and three libraries', each as its users would call it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import numpy as np

from o3v.errors import ConfigError

Reader = Callable[[Path, Sequence[float], float], tuple[Sequence[np.ndarray], tuple[float, ...]]]
"""(file, wanted seconds ascending, frames a second) -> [H, W, 3] RGB frames and the times said to be theirs."""

OWN: Final = "o3v"
INTO_S: Final = 1e-4
"""Wanted times are the frames' own; libraries that compare floats get a moment just behind."""


def read_o3v(path: Path, times_s: Sequence[float], fps: float) -> tuple[Sequence[np.ndarray], tuple[float, ...]]:
    """`o3v.video.decode.decode_at`."""
    from o3v.video.decode import decode_at

    return decode_at(path, times_s)


def read_decord(path: Path, times_s: Sequence[float], fps: float) -> tuple[Sequence[np.ndarray], tuple[float, ...]]:
    """`VideoReader.get_batch` of the frame numbers, times by `get_frame_timestamp`; its own number of threads."""
    import decord

    reader = decord.VideoReader(str(path))
    numbers = [round(time_s * fps) for time_s in times_s]
    frames = reader.get_batch(numbers).asnumpy()
    return list(frames), tuple(float(reader.get_frame_timestamp(number)[0]) for number in numbers)


def read_torchcodec(path: Path, times_s: Sequence[float], fps: float) -> tuple[Sequence[np.ndarray], tuple[float, ...]]:
    """`VideoDecoder.get_frames_played_at`, exact, FFmpeg's own number of threads."""
    return _torchcodec(path, times_s, "exact")


def read_torchcodec_approximate(
    path: Path, times_s: Sequence[float], fps: float
) -> tuple[Sequence[np.ndarray], tuple[float, ...]]:
    """The same with `seek_mode="approximate"`, which does not read the packets first."""
    return _torchcodec(path, times_s, "approximate")


def _torchcodec(path: Path, times_s: Sequence[float], mode: str) -> tuple[Sequence[np.ndarray], tuple[float, ...]]:
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(str(path), seek_mode=mode, num_ffmpeg_threads=0, dimension_order="NHWC")
    batch = decoder.get_frames_played_at([time_s + INTO_S for time_s in times_s])
    return list(batch.data.numpy()), tuple(batch.pts_seconds.tolist())


def read_opencv(path: Path, times_s: Sequence[float], fps: float) -> tuple[Sequence[np.ndarray], tuple[float, ...]]:
    """`VideoCapture`: set the frame's number, read it, turn BGR to RGB; times by CAP_PROP_POS_MSEC after the read."""
    import cv2

    capture: Any = cv2.VideoCapture(str(path))
    frames, times = [], []
    for time_s in times_s:
        capture.set(cv2.CAP_PROP_POS_FRAMES, round(time_s * fps))
        frames.append(cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2RGB))
        times.append(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
    capture.release()
    return frames, tuple(times)


READERS: Final[dict[str, tuple[Reader, str, str]]] = {
    OWN: (read_o3v, "av", "av"),
    "decord": (read_decord, "decord", "decord"),
    "torchcodec": (read_torchcodec, "torchcodec.decoders", "torchcodec"),
    "torchcodec_approximate": (read_torchcodec_approximate, "torchcodec.decoders", "torchcodec"),
    "opencv": (read_opencv, "cv2", "opencv-python-headless"),
}
"""Name -> (reader, module, distribution)."""


def present(names: Sequence[str]) -> tuple[dict[str, Reader], dict[str, str]]:
    """The readers that can be imported, and why the others cannot.

    Raises:
        ConfigError: an unknown name, or `o3v` is not among them.
    """
    unknown = [name for name in names if name not in READERS]
    if unknown or OWN not in names:
        raise ConfigError(f"readers={list(names)}: allowed are {sorted(READERS)}, {OWN} among them")
    found, missing = {}, {}
    for name in names:
        reader, module, _ = READERS[name]
        try:
            importlib.import_module(module)
        except (ImportError, OSError, RuntimeError) as error:  # torchcodec without FFmpeg's libraries: RuntimeError
            missing[name] = str(error).strip().splitlines()[0][:120]
        else:
            found[name] = reader
    return found, missing


def versions(names: Sequence[str]) -> dict[str, str]:
    """Reader -> version of its distribution, `?` where that is not installed under its usual name."""
    found = {}
    for name in names:
        try:
            found[name] = version(READERS[name][2])
        except PackageNotFoundError:
            found[name] = "?"
    return found
