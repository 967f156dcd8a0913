"""What a media file says about itself before anything of it is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
from PIL import Image

from o3v.errors import MediaError


@dataclass(frozen=True)
class Header:
    """Size and length as the container declares them; not checked against the frames.

    Attributes:
        size_px: (width, height) as stored, before rotation.
        duration_s: length of a video, 0 where the file does not tell and for a still image.
        n_frames: frames of a video, 0 where the file does not tell; 1 for a still image.
    """

    size_px: tuple[int, int]
    duration_s: float
    n_frames: int


def read_image_header(path: Path) -> Header:
    """Header of a still image.

    Raises:
        MediaError: no such file, or no image.
    """
    try:
        with Image.open(path) as image:
            return Header(image.size, 0.0, 1)
    except (OSError, ValueError, SyntaxError) as error:
        raise MediaError(path, f"no readable image header ({type(error).__name__})") from error


def read_video_header(path: Path) -> Header:
    """Header of a video's first video stream.

    Raises:
        MediaError: no such file, no video stream, or a size of zero.
    """
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise MediaError(path, "there is no video stream")
            stream = container.streams.video[0]
            ticks = stream.duration * stream.time_base if stream.duration and stream.time_base else None
            length_s = float(ticks) if ticks is not None else (container.duration or 0) / av.time_base
            header = Header((stream.width, stream.height), max(length_s, 0.0), stream.frames)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise MediaError(path, f"no readable video header ({type(error).__name__})") from error
    if min(header.size_px) <= 0:
        raise MediaError(path, "the header tells no size")
    return header
