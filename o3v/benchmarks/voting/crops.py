"""Which part of which frame stands for a claim, and the cutting itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from o3v.benchmarks.voting.paths import Sight, is_finite
from o3v.types import BoxScale, Clip
from o3v.video.geometry import resize

MAX_CROPS = 10
"""Most crops that the scorer is shown at once (eval/tts.py:99)."""

FrameAt = Callable[[float], int | None]
"""A time in seconds -> index of the frame that shows it, None where the video has none."""


@dataclass(frozen=True)
class Cut:
    """A rectangle of a frame.

    Attributes:
        frame: its index; None where the video does not show the claimed time.
        left, top, right, bottom: pixels of the frame, inside it; right and bottom are not part of it.
    """

    frame: int | None
    left: int
    top: int
    right: int
    bottom: int

    @property
    def kept(self) -> bool:
        """Whether there is anything to show."""
        return self.frame is not None and self.right > self.left and self.bottom > self.top


def at_rate(fps: float, n_frames: int, wraps: bool) -> FrameAt:
    """Frames at a constant rate: frame round(t * fps), half to even.

    Args:
        fps: frames a second.
        n_frames: how many there are.
        wraps: whether a negative index counts from the end, as in the released code (eval/tts.py:49-50).

    Returns:
        A function that raises ValueError or OverflowError, as Python's `round`, for a time that is not finite.

    Example:
        >>> [at_rate(1.0, 16, wraps)(time) for wraps in (False, True) for time in (3.4, 16.0, -1.0)]
        [3, None, None, 3, None, 15]
    """

    def frame_at(time_s: float) -> int | None:
        index = round(time_s * fps)
        if wraps and -n_frames <= index < 0:
            return index + n_frames
        return index if 0 <= index < n_frames else None

    return frame_at


def nearest_frame(clip: Clip) -> FrameAt:
    """The frame nearest in time; None for a time more than half a mean interval outside of the frames.

    A clip of one frame shows every time: there is nothing else to see. Of two equally near ones the earlier.
    """
    times = np.asarray(clip.times_s, dtype=float)
    if len(times) < 2:
        return lambda time_s: 0
    margin = (times[-1] - times[0]) / (len(times) - 1) / 2

    def frame_at(time_s: float) -> int | None:
        inside = times[0] - margin <= time_s <= times[-1] + margin
        return int(np.abs(times - time_s).argmin()) if inside else None

    return frame_at


@dataclass(frozen=True)
class Footage:
    """The frames as far as cutting needs to know them.

    Attributes:
        frame_at: which frame shows a time.
        size_px: (width, height) of the frames.
        scale: units of the claims' boxes.
    """

    frame_at: FrameAt
    size_px: tuple[int, int]
    scale: BoxScale


def footage_of(clip: Clip, scale: BoxScale, definition: str) -> Footage:
    """Frames of a clip; `reference` takes a constant frame rate for granted and lets negative times wrap around."""
    if definition == "reference" and clip.duration_s > 0:
        n_frames = len(clip.frames)
        return Footage(at_rate(n_frames / clip.duration_s, n_frames, wraps=True), clip.size_px, scale)
    return Footage(nearest_frame(clip), clip.size_px, scale)


def place(sights: Sequence[Sight], footage: Footage) -> list[Cut]:
    """One cut a claim, in order; a claim with a number that is not finite has no frame.

    Args:
        sights: the claims.
        footage: the frames.

    Example:
        >>> sights = [Sight("a", (-5.0, 10.9, 500.0, 20.0), 2.0), Sight("b", (5.0, 5.0, 5.0, 5.0), 2.0)]
        >>> cuts = place(sights, Footage(at_rate(1.0, 4, False), (168, 112), BoxScale(168, 112)))
        >>> cuts[0], [cut.kept for cut in cuts]
        (Cut(frame=2, left=0, top=10, right=168, bottom=20), [True, False])
    """
    nowhere = Cut(None, 0, 0, 0, 0)
    return [_place(sight, footage) if is_finite(sight) else nowhere for sight in sights]


def reference_fault(sights: Sequence[Sight], frame_at: FrameAt) -> str | None:
    """Why the released code stops at these claims (eval/tts.py:49, 59); None where it does not."""
    try:
        for sight in sights:
            if frame_at(sight.time_s) is not None:
                [int(value) for value in sight.box]
    except (ValueError, OverflowError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def shown(cuts: Sequence[Cut], max_crops: int, too_many_is_none: bool) -> list[Cut]:
    """The cuts that the scorer sees: those with something in them, the first `max_crops`.

    Args:
        cuts: of one path.
        max_crops: most of them.
        too_many_is_none: whether more than that count as none, as in the released code.

    Example:
        >>> cuts = [Cut(0, 0, 0, 9, 9)] * 3 + [Cut(None, 0, 0, 0, 0)]
        >>> len(shown(cuts, 10, False)), len(shown(cuts, 2, False)), len(shown(cuts, 2, True))
        (3, 2, 0)
    """
    kept = [cut for cut in cuts if cut.kept]
    return [] if too_many_is_none and len(kept) > max_crops else kept[:max_crops]


def cut_out(clip: Clip, cuts: Sequence[Cut]) -> np.ndarray:
    """[N, H, W, 3] uint8: the cuts, each enlarged to the size of a frame (aspect not kept, as in the paper's code)."""
    width, height = clip.size_px
    crops = [
        resize(np.ascontiguousarray(clip.frames[cut.frame][cut.top : cut.bottom, cut.left : cut.right]), height, width)
        for cut in cuts
    ]
    return np.stack(crops) if crops else np.zeros((0, height, width, 3), dtype=np.uint8)


def _place(sight: Sight, footage: Footage) -> Cut:
    width, height = footage.size_px
    across, down = (
        width / footage.scale.width,
        height / footage.scale.height,
    )  # 1 where the model writes pixels of the frame
    x1, y1, x2, y2 = sight.box
    left, right = (int(min(max(x * across, 0), width)) for x in (x1, x2))
    top, bottom = (int(min(max(y * down, 0), height)) for y in (y1, y2))
    try:
        frame = footage.frame_at(sight.time_s)
    except OverflowError:  # a time like 1e308, times the frame rate
        frame = None
    return Cut(frame, left, top, right, bottom)
