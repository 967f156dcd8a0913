"""One frame with boxes: solid for what the model says, dashed for what is annotated."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from o3v.evidence.text import INK, Colour, clean, font, line_height, width_px, wrap
from o3v.types import Box

Labelled = tuple[str, Box]
"""Name and normalised box."""

Rectangle = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels."""

MIN_SIDE_PX = 336
"""Frames whose shorter side is below are enlarged by a whole factor, so that labels fit."""

MAX_WIDTH_PX = 960
"""Wider frames are made smaller."""

PALETTE: tuple[Colour, ...] = (
    (230, 57, 70),
    (29, 120, 216),
    (255, 159, 28),
    (20, 160, 110),
    (148, 68, 210),
    (0, 172, 193),
    (216, 27, 140),
    (110, 120, 20),
)
"""Colours of labels in the order in which they are first seen."""

WHITE: Colour = (255, 255, 255)

_LABEL_PX = 15
_DASH_PX = 9


def draw_frame(
    frame: np.ndarray,
    boxes: Sequence[Labelled],
    caption: str,
    annotated: Sequence[Labelled] = (),
    colours: dict[str, Colour] | None = None,
    min_side_px: int = MIN_SIDE_PX,
    max_width_px: int = MAX_WIDTH_PX,
) -> Image.Image:
    """A frame with labelled boxes and a caption beneath.

    Args:
        frame: [H, W, 3] uint8 RGB.
        boxes: (label, normalised box) of the model, drawn solid. Inverted boxes are turned the right way round, parts
            outside the frame are cut to its edge, boxes with a number that is not finite are left out.
        caption: one line below the frame; "" for none.
        annotated: (label, normalised box) of the annotation, drawn dashed; named, in brackets, where no box of
            the model in this frame has the name.
        colours: label -> colour, extended in place for labels that it lacks; None starts afresh.
        min_side_px: a frame whose shorter side is below is enlarged.
        max_width_px: a wider frame is made smaller.

    Returns:
        RGB picture; the caption adds to its height.
    """
    colours = {} if colours is None else colours
    picture = resized(frame, min_side_px, max_width_px)
    draw = ImageDraw.Draw(picture)
    claimed = {clean(label).lower() for label, _ in boxes}
    taken: list[Rectangle] = []
    for label, placed in _placed(annotated, picture.size):
        _dashed(draw, placed, colour_of(label, colours))
    for label, placed in _placed(boxes, picture.size):
        _solid(draw, placed, colour_of(label, colours))
        _label(draw, clean(label), placed, picture.size, colour_of(label, colours), taken)
    for label, placed in _placed(annotated, picture.size):
        if clean(label).lower() not in claimed:
            _label(draw, f"({clean(label)})", placed, picture.size, colour_of(label, colours), taken)
    return _with_caption(picture, clean(caption))


def resized(frame: np.ndarray, min_side_px: int, max_width_px: int) -> Image.Image:
    """The frame as a picture of a size in which labels can be read.

    A small frame has each pixel repeated a whole number of times, so that what the model saw stays visible as it was.
    """
    picture = Image.fromarray(np.ascontiguousarray(frame))
    factor = max(1, math.ceil(min_side_px / min(picture.size)))
    if factor > 1:
        picture = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    if picture.width > max_width_px:
        height = max(1, round(picture.height * max_width_px / picture.width))
        picture = picture.resize((max_width_px, height), Image.Resampling.LANCZOS)
    return picture


def colour_of(label: str, colours: dict[str, Colour]) -> Colour:
    """Colour of a label, the next of the palette for a new one; case does not matter."""
    return colours.setdefault(clean(label).lower(), PALETTE[len(colours) % len(PALETTE)])


def _placed(boxes: Sequence[Labelled], size: tuple[int, int]) -> list[tuple[str, Rectangle]]:
    """Labels and pixels of boxes inside a picture, at least 2 wide and high; without those that are not finite."""
    found = []
    for label, box in boxes:
        if all(math.isfinite(value) for value in box):
            (x1, x2), (y1, y2) = (_edges(box[k], box[k + 2], size[k]) for k in (0, 1))
            found.append((label, (x1, y1, x2, y2)))
    return found


def _edges(first: float, second: float, length: int) -> tuple[float, float]:
    low, high = sorted(min(max(value, 0.0), 1.0) * (length - 1) for value in (first, second))
    return (low, high) if high - low >= 2 else (min(low, length - 3.0), min(low, length - 3.0) + 2)


def _dashed(draw: ImageDraw.ImageDraw, placed: Rectangle, colour: Colour) -> None:
    x1, y1, x2, y2 = placed
    draw.rectangle(placed, outline=WHITE, width=3)  # dashes on white are seen on any background
    for start, end in (((x1, y1), (x2, y1)), ((x2, y1), (x2, y2)), ((x2, y2), (x1, y2)), ((x1, y2), (x1, y1))):
        _dashed_line(draw, start, end, colour)


def _dashed_line(draw: ImageDraw.ImageDraw, start: tuple[float, float], end: tuple[float, float], fill: Colour) -> None:
    length = math.dist(start, end)
    for k in range(0, math.ceil(length), 2 * _DASH_PX):
        a, b = k / length, min(1.0, (k + _DASH_PX) / length)
        ends = [tuple(s + (e - s) * share for s, e in zip(start, end, strict=True)) for share in (a, b)]
        draw.line([ends[0], ends[1]], fill=fill, width=3)


def _solid(draw: ImageDraw.ImageDraw, placed: Rectangle, colour: Colour) -> None:
    """A coloured rectangle with a thin white edge inside and outside: seen on an object of its own colour too."""
    x1, y1, x2, y2 = placed
    draw.rectangle((x1 - 1, y1 - 1, x2 + 1, y2 + 1), outline=WHITE, width=5)
    draw.rectangle(placed, outline=colour, width=3)


def _label(
    draw: ImageDraw.ImageDraw,
    label: str,
    placed: Rectangle,
    size: tuple[int, int],
    colour: Colour,
    taken: list[Rectangle],
) -> None:
    """The name on a filled strip: above the box, below it where there is no room, shifted off earlier labels."""
    if not label:
        return
    (text,) = wrap(label, _LABEL_PX, size[0] - 8, 1)
    width, height = width_px(text, _LABEL_PX) + 8, line_height(_LABEL_PX)
    x = min(max(placed[0] - 1, 0), size[0] - width)
    above, below, inside = placed[1] - height, placed[3] + 1, placed[1] + 2
    fitting = [y for y in (above, below, inside) if 0 <= y <= size[1] - height] or [max(0, size[1] - height)]
    free = [y for y in fitting if not any(_meet((x, y, x + width, y + height), other) for other in taken)]
    y = (free or fitting)[0]
    taken.append((x, y, x + width, y + height))
    draw.rectangle((x, y, x + width, y + height), fill=colour)
    draw.text((x + 4, y + 1), text, font=font(_LABEL_PX), fill=_ink_on(colour))


def _meet(a: Rectangle, b: Rectangle) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _ink_on(colour: Colour) -> Colour:
    """Dark text on light colours, white on dark ones (luma of ITU-R BT.601)."""
    return INK if 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 150 else (255, 255, 255)


def _with_caption(picture: Image.Image, caption: str) -> Image.Image:
    if not caption:
        return picture
    strip = line_height(_LABEL_PX) + 4
    whole = Image.new("RGB", (picture.width, picture.height + strip), (255, 255, 255))
    whole.paste(picture, (0, 0))
    (line,) = wrap(caption, _LABEL_PX, picture.width - 4, 1)
    ImageDraw.Draw(whole).text((2, picture.height + 3), line, font=font(_LABEL_PX), fill=INK)
    return whole
