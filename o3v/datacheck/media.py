"""What a media file is, and whether the frames that training would ask for come out; runs in workers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from o3v.datacheck.facts import MediaFacts, unusable
from o3v.errors import MediaError
from o3v.video.decode import Video, open_video, read_image
from o3v.video.geometry import is_too_thin
from o3v.video.sampling import FrameSampling

Decode = Literal["index", "ends", "sampled"]
"""What of a video is decoded: its first frame, the first and the last one, or all of the even spread."""

DECODES: tuple[Decode, ...] = ("index", "ends", "sampled")


@dataclass(frozen=True)
class MediaJob:
    """One file to look at.

    Attributes:
        path: the file.
        is_image: how it is to be read.
        decode: what of a video is decoded.
        sampling: the even spread of `decode="sampled"`; None otherwise.
    """

    path: str
    is_image: bool
    decode: Decode
    sampling: FrameSampling | None


def look(job: MediaJob) -> MediaFacts:
    """Open a file and decode what the job says; the work of a worker.

    Every packet of a video is read for its time, as training does; images are decoded whole.

    Returns:
        What the file is, or why it cannot be used. Faults of the file never raise.
    """
    try:
        return _image(Path(job.path)) if job.is_image else _video(job)
    except MediaError as error:
        return unusable("media_unreadable", error.reason)
    except MemoryError:
        return unusable("media_unreadable", "asks for more memory than memory_gib allows")


def _image(path: Path) -> MediaFacts:
    height, width = read_image(path).shape[:2]
    _check_shape(path, height, width)
    return MediaFacts(None, "", 0.0, 0.0, 1, width, height)


def _video(job: MediaJob) -> MediaFacts:
    path = Path(job.path)
    with open_video(path) as video:
        height, width = 0, 0
        for _, frame in video.frames_at(_wanted(video, job)):
            height, width = frame.shape[:2]
        _check_shape(path, height, width)
        first_s = float(video.times_s[0])
        return MediaFacts(None, "", first_s, video.index.end_s, len(video.times_s), width, height)


def _wanted(video: Video, job: MediaJob) -> list[float]:
    """The last frame is always among those that training shows: the even spread ends with it."""
    times = video.times_s
    if job.decode == "index":
        return [float(times[0])]
    if job.decode == "ends" or job.sampling is None:
        return [float(times[0]), float(times[-1])]
    return list(job.sampling.plan_times(times, video.index.end_s, ()))


def _check_shape(path: Path, height: int, width: int) -> None:
    if is_too_thin(height, width):
        raise MediaError(path, f"the aspect ratio of {width}x{height} px is above 200")
