"""Which frames a video stream holds, and when each is shown, read from its packets without decoding.

Ticks are the stream's own integer time units; a frame is named by its presentation tick (pts). Seconds are
ticks times the stream's time base and are never shifted: a stream that starts at 1.5 s keeps 1.5 s.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

import av
import numpy as np

from o3v.errors import MediaError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

FALLBACK_RATE = Fraction(25)
"""Frames per second assumed where a stream tells neither times nor a rate (raw elementary streams)."""


LONGEST_S = 1800.0
"""Most seconds that one pass over a file may take, so that a broken file on a slow disk ends."""


class Tick(NamedTuple):
    """One frame of the index: presentation tick, length (0: unknown), keyframe or not. A film has 100,000 of them."""

    pts: int
    duration: int
    is_key: bool


@dataclass(frozen=True)
class FrameIndex:
    """Presentation times of every frame of a stream.

    Attributes:
        pts: [N] int64 ticks, ascending.
        key_pts: [K] int64 ticks of the keyframes, ascending: where decoding may start.
        end_pts: tick at which the last frame stops being shown.
        time_base: seconds a tick.
        seekable: False where the packets carry no presentation ticks, so that only decoding tells the times.
    """

    pts: np.ndarray
    key_pts: np.ndarray
    end_pts: int
    time_base: Fraction
    seekable: bool

    @property
    def times_s(self) -> np.ndarray:
        """[N] float64 presentation times in seconds, ascending."""
        return self.pts * self.time_base.numerator / self.time_base.denominator

    @property
    def end_s(self) -> float:
        """Second at which the last frame stops being shown."""
        return float(self.end_pts * self.time_base)

    def pts_at(self, time_s: float) -> int:
        """Tick of the frame that is on the screen at `time_s`.

        That is the last frame with pts <= time + half a tick (the half absorbs rounding of seconds to floats);
        before the first frame it is the first. The *nearest* frame would be wrong just before every border.
        """
        tick = int(np.floor(time_s / float(self.time_base) + 0.5))
        return int(self.pts[max(int(np.searchsorted(self.pts, tick, side="right")) - 1, 0)])

    def key_before(self, pts: int) -> int:
        """Number of the last keyframe with pts at or before `pts` (0 if there is none).

        By presentation order, not decoding order: the leading pictures of an open group stand after their keyframe
        in the file but are shown before it, and need the group before.
        """
        return max(int(np.searchsorted(self.key_pts, pts, side="right")) - 1, 0)


def packet_index(container: InputContainer, stream: VideoStream) -> FrameIndex | None:
    """Index by reading every packet once, decoding none.

    A damaged end stops the reading: the index then holds what is there.

    Returns:
        None where some packet has no presentation tick; the frames must then be decoded to know their times.
    """
    ticks: list[Tick] = []
    for packet in packets_until_damage(container, stream):
        if packet.size == 0 or packet.is_discard:  # end of stream; cut away by an edit list
            continue
        if packet.pts is None:
            return None
        ticks.append(Tick(packet.pts, packet.duration or 0, packet.is_keyframe))
    return build_index(ticks, stream, seekable=True)


def packets_until_damage(container: InputContainer, stream: VideoStream) -> Iterator[av.Packet]:
    """The stream's packets up to the end or to the first one that cannot be read.

    Raises:
        MediaError: they do not end within `LONGEST_S`.
    """
    packets = container.demux(stream)
    end_s = time.monotonic() + LONGEST_S
    while True:
        if time.monotonic() > end_s:
            raise MediaError(container.name, f"reading it took more than {LONGEST_S:.0f} s")
        try:
            packet = next(packets, None)
        except av.FFmpegError:
            return
        if packet is None:
            return
        yield packet


def build_index(ticks: list[Tick], stream: VideoStream, seekable: bool) -> FrameIndex:
    """Sort ticks into an index; of two frames on one tick the later is unreachable and dropped."""
    unique = sorted({tick.pts: tick for tick in reversed(ticks)}.values(), key=lambda tick: tick.pts)
    keys = [tick for tick in unique if tick.is_key]
    pts = np.array([tick.pts for tick in unique], dtype=np.int64)
    time_base = stream.time_base or 1 / FALLBACK_RATE
    return FrameIndex(
        pts=pts,
        key_pts=np.array([tick.pts for tick in keys], dtype=np.int64),
        end_pts=int(pts[-1]) + _last_length(unique, stream, time_base) if len(pts) else 0,
        time_base=Fraction(time_base),
        seekable=seekable and bool(keys),
    )


def _last_length(ticks: list[Tick], stream: VideoStream, time_base: Fraction) -> int:
    """Ticks for which the last frame is shown: its own length, else the distance before it, else one period."""
    if ticks[-1].duration > 0:
        return ticks[-1].duration
    if len(ticks) > 1:
        return ticks[-1].pts - ticks[-2].pts
    return max(round(1 / (frame_rate(stream) * time_base)), 1)


def frame_rate(stream: VideoStream) -> Fraction:
    """Declared average frames per second, or `FALLBACK_RATE`."""
    return Fraction(stream.average_rate or stream.guessed_rate or FALLBACK_RATE)
