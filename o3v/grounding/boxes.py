"""Geometry of boxes `(x1, y1, x2, y2)`. No function here depends on the unit, only on both boxes having the same."""

from __future__ import annotations

import math
from collections.abc import Sequence

from o3v.types import Box


def is_valid(box: Sequence[float]) -> bool:
    """Does the box hold four finite numbers with a positive width and height.

    >>> is_valid((0.1, 0.1, 0.2, 0.3)), is_valid((0.2, 0.1, 0.1, 0.3)), is_valid((0.0, 0.0, 1.0))
    (True, False, False)
    """
    return len(box) == 4 and all(math.isfinite(v) for v in box) and box[2] > box[0] and box[3] > box[1]


def area(box: Box) -> float:
    """Area of a box, 0 for an inverted one.

    >>> area((0.0, 0.0, 0.5, 0.5)), area((0.5, 0.0, 0.0, 0.5))
    (0.25, 0.0)
    """
    x1, y1, x2, y2 = box
    return max(0.0, x2 - x1) * max(0.0, y2 - y1)


def clip(box: Box) -> Box:
    """The part of a normalised box that lies in the frame.

    >>> clip((-0.1, 0.2, 0.5, 1.5))
    (0.0, 0.2, 0.5, 1.0)
    """
    x1, y1, x2, y2 = (min(max(v, 0.0), 1.0) for v in box)
    return x1, y1, x2, y2


def box_iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes of one image, in [0, 1].

    `|a and b| / |a or b|`. A tube's vIoU is not this: it averages such values over time.

    Args:
        a: box, any unit.
        b: box in the unit of `a`.

    Returns:
        0 when the boxes do not meet, when one of them is inverted or empty, and when a number is not finite.

    Example:
        >>> box_iou((0.0, 0.0, 1.0, 1.0), (0.0, 0.0, 0.5, 1.0))
        0.5
        >>> box_iou((0.5, 0.5, 0.0, 0.0), (0.0, 0.0, 1.0, 1.0))
        0.0
    """
    if not (is_valid(a) and is_valid(b)):
        return 0.0
    shared = area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))
    union = area(a) + area(b) - shared
    # The area of a tiny box underflows to 0, that of an immense one overflows: neither is an overlap worth counting.
    return min(1.0, shared / union) if 0.0 < union < math.inf else 0.0
