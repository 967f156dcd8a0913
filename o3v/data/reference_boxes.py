"""Boxes in training texts as the released code rescales them; `o3v.grounding.render.rewrite_boxes` is the usual way.

Open-o3 Video, sft_multi_task.py. `definition` "reference" gives None where the released code raises; "corrected" scales
decimals too and leaves what is no list of numbers as it stands.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from o3v.errors import ConfigError
from o3v.types import Box

DEFINITIONS: Final = ("reference", "corrected")
_ANY_BOX = re.compile(r"<box>(.*?)</box>")
_FLAT_BOX = re.compile(r"<box>\[([^\[\]]+)\]</box>")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)")
Size = tuple[int, int]
"""Width and height in pixels."""


def resize_boxes(text: str, old_size_px: Size, new_size_px: Size, definition: str) -> str | None:
    """Boxes of an image text from its original to its resized pixels (`resize_bounding_boxes_for_image`).

    Fewer than four numbers are scaled as far as they go, a fifth is dropped. Decimals make the released code raise
    (`float-box-raises`).

    >>> resize_boxes("<box>[110,24,233,426]</box>", (640, 480), (644, 476), "reference")
    '<box>[111,24,234,422]</box>'
    >>> resize_boxes("<box>[0.5,0.5,1.5,2.0]</box>", (640, 480), (644, 476), "reference") is None
    True
    >>> resize_boxes("<box>[0.5,0.5,1.5,2.0]</box>", (640, 480), (644, 476), "corrected")
    '<box>[1,0,2,2]</box>'
    """
    scale = [new / old for new, old in zip(new_size_px, old_size_px, strict=True)] * 2
    read = int if definition == "reference" else _decimal

    def rewrite(content: str) -> str:
        numbers = [read(part) for part in content.strip("[] ").split(",")]
        return _written([number * factor for number, factor in zip(numbers, scale, strict=False)])

    return _each(_ANY_BOX, text, rewrite, definition)


def scale_boxes(text: str, size_px: Size, definition: str) -> str | None:
    """Normalised boxes of a text to pixels (`replace_boxes_for_gemini_data`).

    >>> scale_boxes("<box>[0.297,0.126,0.627,0.748]</box>", (420, 252), "reference")
    '<box>[125,32,263,188]</box>'
    """

    def rewrite(content: str) -> str:
        x1, y1, x2, y2 = (float(part) for part in content.split(","))
        width, height = size_px
        return _written([x1 * width, y1 * height, x2 * width, y2 * height])

    return _each(_FLAT_BOX, text, rewrite, definition)


def corner_box(box_per_mille: Sequence[float], size_px: Size) -> Box:
    """Centre x, centre y, width, height in thousandths to corners in pixels, clipped (`convert_coord_format`).

    >>> corner_box((500, 500, 500, 1500), (400, 200))
    (100.0, 0.0, 300.0, 200.0)
    """
    cx, cy, w, h = (value / 1000 for value in box_per_mille)
    width, height = size_px
    x1, x2 = ((cx + sign * w / 2) * width for sign in (-1, 1))
    y1, y2 = ((cy + sign * h / 2) * height for sign in (-1, 1))
    return max(0.0, x1), max(0.0, y1), min(float(width), x2), min(float(height), y2)


def espresso_boxes(text: str, size_px: Size, definition: str) -> str | None:
    """Boxes of VideoEspresso to corners in pixels; the released function calls a name that does not exist.

    >>> espresso_boxes("x <box>[500,500,200,300]</box>", (420, 252), "corrected")
    'x <box>[168,88,252,164]</box>'
    """
    if definition == "reference" and _FLAT_BOX.search(text):
        return None

    def rewrite(content: str) -> str:
        cx, cy, w, h = (float(part) for part in content.split(","))
        return _written(corner_box((cx, cy, w, h), size_px))

    return _each(_FLAT_BOX, text, rewrite, definition)


def _each(pattern: re.Pattern[str], text: str, rewrite: Callable[[str], str], definition: str) -> str | None:
    if definition not in DEFINITIONS:
        raise ConfigError(f"definition={definition!r} must be one of {DEFINITIONS}")

    def replaced(match: re.Match[str]) -> str:
        try:
            return rewrite(match.group(1))
        except (ValueError, OverflowError):
            if definition == "reference":
                raise
            return match.group(0)

    try:
        return pattern.sub(replaced, text)
    except (ValueError, OverflowError):
        return None


def _decimal(text: str) -> float:
    if not _DECIMAL.fullmatch(text.strip()):
        raise ValueError(f"{text!r} is no plain decimal number")
    return float(text)


def _written(numbers: Sequence[float]) -> str:
    return f"<box>[{','.join(str(round(number)) for number in numbers)}]</box>"
