"""The bar of seconds: the answer's span and the cited times above, the annotation below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from o3v.evidence.text import FAINT, INK, Colour, font, width_px
from o3v.types import Clip, Completion, Sample, Span

MODEL: Colour = (29, 120, 216)
TRUTH: Colour = (20, 140, 96)

_BAR: Colour = (228, 231, 235)
_LEFT_PX, _RIGHT_PX = 86, 18
_ROW_PX = 26
_SMALL_PX = 13
_STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600)


@dataclass(frozen=True)
class _Axis:
    """Seconds to pixels; times outside the video lie at its ends."""

    length_s: float
    width_px: int

    def x(self, time_s: float) -> float:
        share = min(max(time_s / self.length_s, 0.0), 1.0)
        return _LEFT_PX + share * (self.width_px - _LEFT_PX - _RIGHT_PX)


def draw_timeline(
    clip: Clip, completion: Completion, sample: Sample | None, width: int, cursor_s: float | None
) -> Image.Image:
    """The timeline of an answer.

    Times beyond the video are drawn at its end, a span that ends before it starts the right way round.

    Args:
        clip: gives the length.
        completion: cited times (diamonds) and the answer's span (filled) in the first row.
        sample: annotated key frames and span in a second row; None leaves it out.
        width: of the picture.
        cursor_s: a vertical line at the moment that a film shows; None for none.
    """
    rows = [("model", completion.answer_span_s, [claim.time_s for claim in completion.claims], MODEL)]
    if sample is not None:
        rows.append(("annotated", sample.span_s, [frame.time_s for frame in sample.key_frames], TRUTH))
    bottom = 4 + _ROW_PX * len(rows)
    picture = Image.new("RGB", (width, bottom + 22), (255, 255, 255))
    draw = ImageDraw.Draw(picture)
    axis = _Axis(max(clip.duration_s, 1e-3, *clip.times_s), width)
    for index, (name, span_s, times_s, colour) in enumerate(rows):
        _row(draw, axis, 4 + _ROW_PX * index, (name, colour), span_s, times_s)
    _ticks(draw, axis, bottom)
    if cursor_s is not None:
        draw.line([(axis.x(cursor_s), 1), (axis.x(cursor_s), bottom)], fill=INK, width=2)
    return picture


def _row(
    draw: ImageDraw.ImageDraw,
    axis: _Axis,
    y: int,
    name: tuple[str, Colour],
    span_s: Span | None,
    times_s: Sequence[float],
) -> None:
    text, colour = name
    draw.text((4, y + 2), text, font=font(_SMALL_PX), fill=colour)
    draw.rounded_rectangle((axis.x(0), y + 5, axis.x(axis.length_s), y + 15), radius=4, fill=_BAR)
    if span_s is not None:
        start, end = sorted(axis.x(t) for t in span_s)
        draw.rounded_rectangle((start, y + 5, max(end, start + 3), y + 15), radius=4, fill=colour)
    for time_s in times_s:
        x, middle = axis.x(time_s), y + 10
        diamond = [(x - 7, middle), (x, middle - 7), (x + 7, middle), (x, middle + 7)]
        draw.polygon(diamond, fill=(255, 255, 255), outline=colour, width=3)


def tick_step_s(length_s: float) -> float:
    """Seconds between two ticks: at most about eight of them.

    >>> tick_step_s(8.0), tick_step_s(100.0), tick_step_s(7200.0)
    (1, 20, 1200)
    """
    return next((step for step in _STEPS_S if length_s / step <= 8), length_s / 8)


def _ticks(draw: ImageDraw.ImageDraw, axis: _Axis, y: int) -> None:
    step_s = tick_step_s(axis.length_s)
    for k in range(int(axis.length_s / step_s + 1e-6) + 1):
        label = f"{k * step_s:g} s"
        x = axis.x(k * step_s)
        draw.line([(x, y - 4), (x, y)], fill=FAINT)
        draw.text((x - width_px(label, _SMALL_PX) / 2, y + 2), label, font=font(_SMALL_PX), fill=FAINT)
