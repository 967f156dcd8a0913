"""Means over the places that count."""

from __future__ import annotations

import torch
from torch import Tensor


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the last axis of the values that count.

    Args:
        values: [..., L] numbers; what stands under False may be anything, NaN included.
        mask: [..., L] bool, True counts.

    Returns:
        [...] means, 0 where nothing counts.

    Example:
        >>> masked_mean(torch.tensor([1.0, 3.0, float("nan")]), torch.tensor([True, True, False]))
        tensor(2.)
    """
    return masked_sum(values, mask) / mask.sum(-1).clamp(min=1)


def masked_sum(values: Tensor, mask: Tensor) -> Tensor:
    """Sum over the last axis of the values that count; arguments as in `masked_mean`.

    >>> masked_sum(torch.tensor([1.0, 3.0]), torch.tensor([True, False]))
    tensor(1.)
    """
    return torch.where(mask, values, torch.zeros_like(values)).sum(-1)
