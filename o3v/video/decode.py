"""Frames of a video at wanted times, read with PyAV: right on variable rates, B-frames, offsets and rotation.

Time is what the container says: seconds on the stream's own timeline, start offset kept (a file whose first frame is
shown at 1.5 s has no frame before 1.5 s). The packets are read once for their times; then one seek per needed group
of pictures and decoding up to the last wanted frame. Where a seek lands late (MPEG-TS) or a frame does not come out
(damage), the file is decoded from its start instead. Whatever is wrong with a file is a `MediaError`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
from PIL import Image, ImageOps

from o3v.errors import MediaError
from o3v.video.index import FrameIndex, Tick, build_index, frame_rate, packet_index, packets_until_damage
from o3v.video.parallel import free_threads, in_order

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

    Shown = tuple[int, VideoFrame]  # presentation tick and frame
    Picture = tuple[float, np.ndarray]  # presentation time in seconds, [H, W, 3] uint8 RGB

logger = logging.getLogger(__name__)

THRIFTY_CODECS = frozenset({"h264"})
"""Whose decoder leaves out exactly the frames that no other refers to (nal_ref_idc 0), each by itself."""

LONG_WORK_PX = 100_000_000
"""Pixels to decode above which further threads pay for opening the file again: about 0.1 s of one core."""

END_TOLERANCE_S = 1.0
"""Annotated times may pass the last frame's end by rounding; further out, the moment is not in the file."""

DAMAGE_TOLERANCE_S = 1.0
"""An undecodable frame may be replaced by one at most this much earlier (its true time is reported)."""

STUCK_S = 120.0
"""Most seconds that opening, or finding the next packet, may take: a search through damage for what never comes."""

REFUSED_FORMATS = frozenset({"tty", "concat", "hls", "dash"})
"""FFmpeg would draw a text file as pictures, and play lists that open other files."""


@dataclass(frozen=True)
class VideoInfo:
    """What a video is.

    Attributes:
        duration_s: second at which the last frame stops being shown (start offset included).
        size_px: (width, height) as shown, after rotation.
        n_frames: frames in the file.
        fps: declared average frames per second.
    """

    duration_s: float
    size_px: tuple[int, int]
    n_frames: int
    fps: float


class Video:
    """An open, indexed video. Made by `open_video`; holds the file open until its block ends."""

    def __init__(self, path: Path, container: InputContainer, stream: VideoStream, threads: int) -> None:
        self.path = path
        self._threads = threads
        self._container = container
        self._stream = stream
        self.index = packet_index(container, stream) or _decoded_index(path)
        if not len(self.index.pts):
            raise MediaError(path, "the video stream holds no frame")

    @property
    def times_s(self) -> np.ndarray:
        """[N] presentation times of all frames in seconds, ascending."""
        return self.index.times_s

    def info(self) -> VideoInfo:
        """Length, size after rotation (from the first frame), number of frames, declared rate."""
        height, width = self.first_frame().shape[:2]
        return VideoInfo(self.index.end_s, (width, height), len(self.index.pts), float(frame_rate(self._stream)))

    def first_frame(self) -> np.ndarray:
        """[H, W, 3] the first frame, which tells the size as shown."""
        return next(self.frames_at([float(self.times_s[0])]))[1]

    def shown_at(self, time_s: float) -> float:
        """True presentation time of the frame on the screen at `time_s`.

        Raises:
            MediaError: the time is no number, or more than 1 s after the end.
        """
        return float(self._pts_at(time_s) * self.index.time_base)

    def frames_at(self, times_s: Sequence[float]) -> Iterator[tuple[float, np.ndarray]]:
        """The frame on the screen at each time, one at a time, so that a caller can shrink it before the next.

        Args:
            times_s: wanted seconds in any order.

        Yields:
            (true presentation time, [H, W, 3] uint8 RGB, rotated as shown) for each distinct frame in ascending
            order: times that fall on one frame give it once.

        Raises:
            MediaError: a time lies after the end, or its frame cannot be decoded.
        """
        wanted = sorted({self._pts_at(time_s) for time_s in times_s})
        done = 0
        if self.index.seekable:
            for picture in self._by_groups(wanted):
                yield picture
                done += 1
        if done < len(wanted):
            logger.debug("%s: decoding from the start (%d of %d frames by seeking)", self.path, done, len(wanted))
            yield from self._from_start(wanted[done:], wanted[done - 1] if done else None)

    def _pts_at(self, time_s: float) -> int:
        if not np.isfinite(time_s):
            raise MediaError(self.path, f"no frame at {time_s} s")
        if time_s > self.index.end_s + END_TOLERANCE_S:
            raise MediaError(self.path, f"no frame at {time_s:.2f} s: the video ends at {self.index.end_s:.2f} s")
        return self.index.pts_at(time_s)

    def _output(self, pts: int, frame: VideoFrame) -> Picture:
        try:
            return float(pts * self.index.time_base), _upright_rgb(frame)
        except av.FFmpegError as error:
            raise MediaError(self.path, f"no RGB picture ({type(error).__name__})") from error

    def _by_groups(self, wanted: list[int]) -> Iterator[Picture]:
        """Wanted frames group by group, of several at once where that pays; stops at the first that does not come."""
        groups = [list(group) for _, group in groupby(wanted, key=self.index.key_before)]
        threads = min(self._threads, len(groups)) if self._work_px(groups) > LONG_WORK_PX else 1
        found = [0] * len(groups)
        for number, picture in (
            in_order(groups, threads, self._group_decoder) if threads > 1 else self._one_by_one(groups)
        ):
            if any(found[i] < len(groups[i]) for i in range(number)):
                return
            found[number] += 1
            yield picture

    def _one_by_one(self, groups: list[list[int]]) -> Iterator[tuple[int, Picture]]:
        for number, group in enumerate(groups):
            for pts, frame in self._frames_of_group(self._container, self._stream, group):
                yield number, self._output(pts, frame)

    @contextmanager
    def _group_decoder(self) -> Iterator[Callable[[list[int]], Iterator[Picture]]]:
        """A decoder of its own for a thread."""
        with _opened(self.path) as (container, stream):

            def pictures(group: list[int]) -> Iterator[Picture]:
                for pts, frame in self._frames_of_group(container, stream, group):
                    yield self._output(pts, frame)

            yield pictures

    def _work_px(self, groups: list[list[int]]) -> int:
        """Pixels to decode: those of all frames from each group's keyframe to its last wanted frame."""
        keys = [self.index.key_pts[self.index.key_before(group[0])] for group in groups]
        first, last = np.searchsorted(self.index.pts, (keys, [group[-1] for group in groups]))
        return int(np.maximum(last - first + 1, 1).sum()) * (self._stream.width or 0) * (self._stream.height or 0)

    def _frames_of_group(self, container: InputContainer, stream: VideoStream, wanted: list[int]) -> Iterator[Shown]:
        """Wanted frames of one group in order, first without decoding what no frame needs, then, if need be, with."""
        key_pts = int(self.index.key_pts[self.index.key_before(wanted[0])])
        found = 0
        for thrifty in (True, False) if stream.codec_context.name in THRIFTY_CODECS else (False,):
            if found == len(wanted) or not _seek(container, stream, key_pts):
                return
            for shown in _matched(_decoded(container, stream, frozenset(wanted) if thrifty else None), wanted[found:]):
                found += 1
                yield shown

    def _from_start(self, wanted: list[int], given: int | None) -> Iterator[tuple[float, np.ndarray]]:
        """Decode everything; for each wanted tick the last decodable frame at or before it, unless just `given`."""
        with _opened(self.path) as (container, stream):
            for wanted_pts, shown in _last_at_or_before(_timed(container, stream), wanted):
                if shown is None or (wanted_pts - shown[0]) * self.index.time_base > DAMAGE_TOLERANCE_S:
                    missing_s = float(wanted_pts * self.index.time_base)
                    raise MediaError(self.path, f"the frame at {missing_s:.2f} s cannot be decoded")
                if shown[0] != given:
                    given = shown[0]
                    yield self._output(*shown)


@contextmanager
def open_video(path: Path, threads: int | None = None) -> Iterator[Video]:
    """Open and index a video for the length of a `with` block.

    Args:
        path: the file.
        threads: groups of pictures decoded at once; None for what is free (`free_threads`). Frames do not depend on it.

    Raises:
        MediaError: missing, empty or unreadable file, no video stream, no frame.
    """
    with _opened(path) as (container, stream):
        yield Video(path, container, stream, free_threads() if threads is None else threads)


def probe(path: Path) -> VideoInfo:
    """What the video at `path` is; reads its packets and decodes one frame.

    Raises:
        MediaError: as `open_video`.
    """
    with open_video(path) as video:
        return video.info()


def decode_at(
    path: Path, times_s: Sequence[float], threads: int | None = None
) -> tuple[list[np.ndarray], tuple[float, ...]]:
    """The frames on the screen at the wanted times, each once, in ascending order.

    Args:
        path: the video.
        times_s: seconds on the stream's timeline, in any order. The frame at t is the last one presented at or before
            t (plus half a tick); before the first frame it is the first, up to 1 s after the end the last.
        threads: as in `open_video`.

    Returns:
        [H, W, 3] uint8 RGB frames in original size, and the true presentation time of each.

    Raises:
        MediaError: the file cannot be read, or a wanted frame cannot be had.
    """
    with open_video(path, threads) as video:
        pairs = list(video.frames_at(times_s))
    return [frame for _, frame in pairs], tuple(time_s for time_s, _ in pairs)


def read_image(path: Path) -> np.ndarray:
    """A still picture as [H, W, 3] uint8 RGB, turned as its EXIF orientation says.

    Raises:
        MediaError: missing or unreadable file.
    """
    _check_file(path)
    try:
        with Image.open(path) as image:
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        # Pillow reports damage under all of these names, depending on the format
        raise MediaError(path, f"not a readable image ({type(error).__name__})") from error


def _check_file(path: Path) -> None:
    """Refuse what is not a file with content; a pipe would block for ever."""
    if not path.exists():
        raise MediaError(path, "file is missing")
    if not path.is_file():
        raise MediaError(path, "not a file")
    if path.stat().st_size == 0:
        raise MediaError(path, "file is empty")


@contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    _check_file(path)
    try:
        container = av.open(str(path.absolute()), metadata_errors="ignore", timeout=(STUCK_S, STUCK_S))
    except (av.FFmpegError, OSError) as error:
        raise MediaError(path, f"not a readable video ({type(error).__name__})") from error
    with container:
        if container.format.name in REFUSED_FORMATS:
            raise MediaError(path, f"not a video ({container.format.name})")
        yield container, _video_stream(path, container)


def _video_stream(path: Path, container: InputContainer) -> VideoStream:
    """First stream of moving pictures; the cover of an audio file is none."""
    cover = av.stream.Disposition.attached_pic
    stream = next((s for s in container.streams.video if not s.disposition & cover), None)
    if stream is None:
        raise MediaError(path, "no video stream")
    if stream.codec_context is None:
        raise MediaError(path, "no decoder for its video stream")
    # One thread a decoder: several groups at once gain more, and short clips only lose by starting threads.
    stream.codec_context.thread_count = 1
    stream.thread_type = "NONE"
    return stream


def _seek(container: InputContainer, stream: VideoStream, key_pts: int) -> bool:
    """Go to a keyframe; False where the container cannot. Landing late shows as wanted frames that do not come."""
    try:
        container.seek(key_pts, stream=stream)
    except av.FFmpegError:
        return False
    return True


def _matched(frames: Iterator[VideoFrame], wanted: list[int]) -> Iterator[Shown]:
    """The wanted frames among those that come, up to the first that does not."""
    waiting = iter(wanted)
    pts = next(waiting, None)
    for frame in frames:
        if pts is None or (frame.pts is not None and frame.pts > pts):
            return
        if frame.pts == pts:
            yield pts, frame
            pts = next(waiting, None)
            if pts is None:
                return


def _decoded(
    container: InputContainer, stream: VideoStream, only: frozenset[int] | None = None
) -> Iterator[VideoFrame]:
    """Frames in presentation order from the current position; damaged packets and frames are passed over.

    Args:
        container: stands at a keyframe.
        stream: of it.
        only: ticks of the frames that matter; others that no frame refers to are then not decoded. None decodes all.
    """
    for packet in packets_until_damage(container, stream):
        stream.codec_context.skip_frame = "DEFAULT" if only is None or packet.pts in only else "NONREF"
        yield from _frames_of(stream, packet)
        if packet.size == 0:
            return
    yield from _frames_of(stream, None)  # the reading broke off: what the decoder still holds


def _frames_of(stream: VideoStream, packet: av.Packet | None) -> list[VideoFrame]:
    try:
        frames = stream.codec_context.decode(packet)
    except av.FFmpegError:
        return []
    return [frame for frame in frames if not frame.is_corrupt]


def _timed(container: InputContainer, stream: VideoStream) -> Iterator[Shown]:
    """Every decodable frame with its presentation tick; without one in the stream, frames are counted at its rate."""
    time_base = stream.time_base or 1 / frame_rate(stream)
    for number, frame in enumerate(_decoded(container, stream)):
        pts = round(number / frame_rate(stream) / time_base) if frame.pts is None else frame.pts
        yield pts, frame


def _decoded_index(path: Path) -> FrameIndex:
    """Index of a stream whose packets carry no presentation times: decode it all once."""
    with _opened(path) as (container, stream):
        ticks = [Tick(pts, frame.duration or 0, False) for pts, frame in _timed(container, stream)]
        return build_index(ticks, stream, seekable=False)


def _last_at_or_before(frames: Iterator[Shown], wanted: list[int]) -> Iterator[tuple[int, Shown | None]]:
    """Pair each wanted tick (ascending) with the last frame at or before it; None where there is none."""
    waiting = list(wanted)
    last: Shown | None = None
    for shown in frames:
        while waiting and shown[0] > waiting[0]:
            yield waiting.pop(0), last
        if not waiting:
            return
        last = shown
    for pts in waiting:
        yield pts, last


def _upright_rgb(frame: VideoFrame) -> np.ndarray:
    """[H, W, 3] RGB, turned counter-clockwise by the display rotation that FFmpeg reports but does not apply."""
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), turns))
