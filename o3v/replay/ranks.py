"""Do two rewards order completions alike: rank correlation, and advantages as a group sees them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

FLAT = 1e-9
"""Values that differ by less are equal; sums of shares come out with such noise."""


def ranks(values: Sequence[float]) -> np.ndarray:
    """Ranks from 1, equal values with the mean of their ranks.

    >>> ranks([0.5, 2.0, 0.5]).tolist()
    [1.5, 3.0, 1.5]
    """
    rounded = np.round(np.asarray(values, dtype=float) / FLAT)
    _, position, count = np.unique(rounded, return_inverse=True, return_counts=True)
    ends = np.cumsum(count)
    return (ends - (count - 1) / 2)[position]


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's rank correlation with mean ranks for ties, -1 to 1; NaN where one of the two does not vary.

    >>> spearman([1.0, 2.0, 3.0], [10.0, 30.0, 20.0])
    0.5
    """
    if len(a) < 2:
        return math.nan
    x, y = ranks(a), ranks(b)
    x, y = x - x.mean(), y - y.mean()
    length = math.sqrt(float(x @ x) * float(y @ y))
    return float(x @ y) / length if length > 0.0 else math.nan


def advantages(totals: Sequence[float]) -> np.ndarray:
    """Totals minus their mean over their deviation, as GRPO and GSPO see a group; zeros for a flat group.

    >>> advantages([1.0, 3.0]).round(3).tolist(), advantages([2.0, 2.0]).tolist()
    ([-0.707, 0.707], [0.0, 0.0])
    """
    values = np.asarray(totals, dtype=float)
    if len(values) < 2 or is_flat(values):
        return np.zeros(len(values))
    return (values - values.mean()) / values.std(ddof=1)


def is_flat(values: Sequence[float] | np.ndarray) -> bool:
    """Are all values equal, so that a group teaches nothing.

    >>> is_flat([0.3, 0.1 + 0.2]), is_flat([0.0, 1.0])
    (True, False)
    """
    return bool(np.ptp(np.asarray(values, dtype=float)) <= FLAT) if len(values) else True
