"""Geometry of spans `(start, end)` in seconds."""

from __future__ import annotations

import math

from o3v.types import Span


def tiou(a: Span, b: Span) -> float:
    """Temporal intersection over hull of two spans, in [0, 1].

    `max(0, min(ends) - max(starts)) / (max(ends) - min(starts))`. The hull equals the union for spans that meet;
    where they do not, the intersection is 0 anyway (Open-o3 Video, arXiv:2510.20579, eq. 2).

    Args:
        a: start and end, seconds.
        b: start and end, seconds.

    Returns:
        0 when a span ends before it starts, when the hull is a single instant and when a number is not finite.

    Example:
        >>> tiou((0.0, 10.0), (5.0, 10.0))
        0.5
        >>> tiou((10.0, 0.0), (0.0, 10.0))
        0.0
    """
    if not all(math.isfinite(v) for v in (*a, *b)) or a[1] < a[0] or b[1] < b[0]:
        return 0.0
    shared = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
    hull = max(a[1], b[1]) - min(a[0], b[0])
    return shared / hull if hull > 0.0 else 0.0


def contains(span: Span, time_s: float) -> bool:
    """Does the span hold the instant, ends included.

    >>> contains((1.0, 2.0), 2.0), contains((1.0, 2.0), 2.1)
    (True, False)
    """
    return span[0] <= time_s <= span[1]
