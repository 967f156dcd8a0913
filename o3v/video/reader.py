"""Sample -> Clip: the frames that a model will see, at their true times, in a size that it can take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from o3v.errors import ConfigError, MediaError
from o3v.types import Clip, Sample, Span
from o3v.video.decode import Video, open_video, read_image
from o3v.video.geometry import ResizePlan, fit_budget, is_too_thin, resize
from o3v.video.sampling import FrameSampling, frame_on_screen

TICK_S = 1e-6
"""Times closer than this are one: the noise of a time base in floating point."""


@dataclass(frozen=True)
class _Shown:
    """What of a file a clip is made of: its frames' times and the two ends, on the file's timeline."""

    times_s: np.ndarray
    start_s: float
    end_s: float


class Reader(Protocol):
    """What turns media into clips: `ClipReader`, or `o3v.video.stored.StoredReader` before it."""

    def read(self, sample: Sample, factor: int) -> Clip:
        """The clip of a sample."""

    def read_image(self, path: Path, factor: int) -> Clip:
        """A still image as a clip of one frame without a time."""

    def read_video(self, path: Path, key_times_s: tuple[float, ...], factor: int, part_s: Span | None) -> Clip:
        """Frames of a video or of a part of it."""


@dataclass(frozen=True)
class ClipReader:
    """Reads the media of samples. Small and picklable: it lives in data-loader workers.

    Attributes:
        sampling: which moments of a video.
        min_pixels: smaller frames and images are enlarged to about this area.
        max_pixels: largest area of one video frame.
        image_max_pixels: largest area of a still image.
        max_total_tokens: most vision tokens of one clip; frames are dropped before encoding to keep it.
    """

    sampling: FrameSampling
    min_pixels: int
    max_pixels: int
    image_max_pixels: int
    max_total_tokens: int

    def __post_init__(self) -> None:
        """Reject an empty window of sizes."""
        for name in ("max_pixels", "image_max_pixels"):
            if not 0 < self.min_pixels <= getattr(self, name):
                raise ConfigError(
                    f"reader.min_pixels={self.min_pixels}, reader.{name}={getattr(self, name)}: "
                    f"wanted 0 < min_pixels <= {name}"
                )

    def read(self, sample: Sample, factor: int) -> Clip:
        """Decode the frames of a sample and resize them for a model.

        Args:
            sample: names a video or a still image.
            factor: pixels of a vision token's side (`ResizePlan.factor`), a property of the model.

        Raises:
            MediaError: the media cannot be read, or a key frame lies outside it.
        """
        return read_sample(self, sample, factor)

    def read_image(self, path: Path, factor: int) -> Clip:
        """A still image as a clip of one frame without a time."""
        image = read_image(path)
        height, width = self._size(path, image, ResizePlan(factor, self.min_pixels, self.image_max_pixels))
        return Clip(resize(image, height, width)[None], (), 0.0, (image.shape[1], image.shape[0]))

    def read_video(self, path: Path, key_times_s: tuple[float, ...], factor: int, part_s: Span | None) -> Clip:
        """Frames of a video or of a part of it, key times included where the sampling says so.

        Args:
            path: the file.
            key_times_s: annotated moments, in seconds from the start of the part.
            factor: pixels of a vision token's side.
            part_s: start and end of the part on the file's timeline; the clip's times and its duration then count from
                that start. None for the whole file.

        Raises:
            MediaError: the file cannot be read, the part is empty or lies outside it.
        """
        plan = ResizePlan(factor, self.min_pixels, self.max_pixels)
        with open_video(path) as video:
            shown = _shown(video, part_s)
            first = video.first_frame()
            height, width = self._size(path, first, plan)
            times_s = self._times(video, shown, key_times_s, plan.tokens(height, width))
            pairs = [(time_s, resize(frame, height, width)) for time_s, frame in video.frames_at(times_s)]
            return Clip(
                frames=np.stack([frame for _, frame in pairs]),
                times_s=tuple(max(time_s - shown.start_s, 0.0) for time_s, _ in pairs),
                duration_s=shown.end_s - shown.start_s,
                original_size_px=(first.shape[1], first.shape[0]),
            )

    def _times(
        self, video: Video, shown: _Shown, key_times_s: tuple[float, ...], tokens_per_frame: int
    ) -> tuple[float, ...]:
        wanted_s = key_times_s if self.sampling.insert_key_frames else ()
        keys_s = {video.shown_at(key_s + shown.start_s) for key_s in wanted_s}
        times_s = self.sampling.plan_times(shown.times_s, shown.end_s, tuple(keys_s))
        return fit_budget(times_s, keys_s, tokens_per_frame, self.max_total_tokens)

    @staticmethod
    def _size(path: Path, frame: np.ndarray, plan: ResizePlan) -> tuple[int, int]:
        height, width = frame.shape[:2]
        if is_too_thin(height, width):
            raise MediaError(path, f"the aspect ratio of {width}x{height} px is above 200")
        return plan.smart_resize(height, width)


def read_sample(reader: Reader, sample: Sample, factor: int) -> Clip:
    """The clip of a sample's video or still image.

    Raises:
        MediaError: the sample names neither, or the reader's.
    """
    if sample.video_path is not None:
        key_times_s = tuple(key.time_s for key in sample.key_frames)
        return reader.read_video(sample.video_path, key_times_s, factor, None)
    if sample.image_path is not None:
        return reader.read_image(sample.image_path, factor)
    raise MediaError(sample.id, "the sample names neither a video nor an image")


def _shown(video: Video, part_s: Span | None) -> _Shown:
    """The frames presented in [start, end); of a part between two frames the one on the screen at its start."""
    if part_s is None:
        return _Shown(video.times_s, 0.0, video.index.end_s)
    start_s, end_s = part_s[0], min(part_s[1], video.index.end_s)
    if not 0.0 <= start_s < end_s:
        raise MediaError(
            video.path,
            f"no part from {part_s[0]:.2f} to {part_s[1]:.2f} s: the video ends at {video.index.end_s:.2f} s",
        )
    inside = (video.times_s > start_s - TICK_S) & (video.times_s < end_s - TICK_S)
    if not inside.any():
        inside[frame_on_screen(video.times_s, start_s)] = True
    return _Shown(video.times_s[inside], start_s, end_s)
