"""V-STaR's summary numbers (arXiv:2503.11495): what, when and where in one number.

Every function takes fractions, not percent, and works on numbers and on numpy arrays alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Number = TypeVar("Number", float, np.ndarray)

LGM_EPSILON = 1e-6
"""Smallest `1 - x` in LGM; a perfect score counts -ln(1e-6) = 13.8, not infinity. V-STaR's paper has an epsilon
without a value, its code has none and stops at a metric of exactly 1."""


def arithmetic_mean(acc: Number, m_tiou: Number, m_viou: Number) -> Number:
    """AM = (Acc + m_tIoU + m_vIoU) / 3.

    >>> round(arithmetic_mean(0.61, 0.245, 0.254), 4)
    0.3697
    """
    return (acc + m_tiou + m_viou) / 3


def log_geometric_mean(acc: Number, m_tiou: Number, m_viou: Number) -> Number:
    """LGM = -(1/3) * sum over the three of ln(max(1 - x, LGM_EPSILON)); tables show it times 100.

    It rewards being strong in one of the three more than AM does.

    Args:
        acc: share of right answers, 0 to 1.
        m_tiou: mean temporal IoU, 0 to 1.
        m_viou: mean over samples of the mean box IoU over annotated moments, 0 to 1.

    Returns:
        0 when all are 0; at most -ln(LGM_EPSILON).

    Differs from the reference: finite at 1 (eval_vstar.py:408-409 raises).

    Example:
        >>> round(float(log_geometric_mean(0.61, 0.245, 0.254)), 4)
        0.5052
        >>> round(float(log_geometric_mean(1.0, 1.0, 1.0)), 4)
        13.8155
    """
    logs = (np.log(np.maximum(1 - x, LGM_EPSILON)) for x in (acc, m_tiou, m_viou))
    total: Number = -sum(logs) / 3
    return total


def mean_over_chains(chain_1: Number, chain_2: Number) -> Number:
    """The mean of two chains, mAM or mLGM: mean of the two chains' AM or LGM (what-when-where and what-where-when).

    >>> mean_over_chains(0.25, 0.75)
    0.5
    """
    return (chain_1 + chain_2) / 2


def recall_at(tious: Sequence[float], threshold: float) -> float:
    """R1@tIoU: share of samples whose tIoU reaches the threshold (>=); 0 for no sample.

    >>> recall_at([0.2, 0.5, 0.9], 0.5)
    0.6666666666666666
    """
    return sum(value >= threshold for value in tious) / len(tious) if tious else 0.0
