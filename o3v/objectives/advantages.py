"""Advantages of the completions of one prompt over each other."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

STD_FLOOR: Final = 1e-4
"""Added to the standard deviation (released code, grpo_trainer.py:676)."""

ADVANTAGE_MODES = ("std", "mean_only", "batch_std", "leave_one_out", "per_reward", "reference")


def group_advantages(totals: Tensor, mode: str, columns: Tensor | None = None, weights: Tensor | None = None) -> Tensor:
    """Group-relative advantages; std with G - 1 (or B G - 1) in the denominator.

    std:           A_i = (r_i - mean) / (std + 1e-4)                            GRPO, arXiv:2402.03300, sec. 4.1
    mean_only:     A_i = r_i - mean                                         Dr. GRPO, arXiv:2503.20783, sec. 3.2
    batch_std:     A_i = (r_i - mean) / (std of all B G totals + 1e-4)       Lite PPO, arXiv:2508.08221
    leave_one_out: A_i = r_i - mean of the other G - 1                          RLOO, arXiv:2402.14740
    per_reward:    A_i = S_i / (std of all B G S + 1e-4), S_i = sum_k w_k * (std mode of the K-th term's values)
                                                                                GDPO, arXiv:2601.05242
    reference:     as std, to the last digit of the released code (see below)

    The batch is that of this process. GDPO also takes the batch mean of S away; that is 0, as every group's sum is 0.

    Args:
        totals: [B, G]; not read by per_reward.
        mode: one of `ADVANTAGE_MODES`.
        columns: [B, G, K] values of the reward terms before weighting, needed by per_reward alone (a weight inside a
            term would go with the term's own scale). A term that does not apply is 0 and adds nothing.
        weights: [K] of the terms; None: all 1.

    Returns:
        [B, G]. 0 for a group whose rewards are all equal, so also for G = 1.

    Raises:
        ValueError: an unknown mode, or per_reward without columns.

    Differs from the reference: G = 1 gives 0, not NaN (grpo_trainer.py:676). The mean of equal numbers can be off in
    its last digit, which the division by 1e-4 turns into an advantage of about 0.001; `reference` keeps that.

    Example:
        >>> group_advantages(torch.tensor([[0.0, 1.0], [2.0, 2.0]]), "std")
        tensor([[-0.7070,  0.7070],
                [ 0.0000,  0.0000]])
        >>> group_advantages(torch.tensor([[0.0, 3.0, 3.0]]), "leave_one_out")
        tensor([[-3.0000,  1.5000,  1.5000]])
    """
    if mode not in ADVANTAGE_MODES:
        raise ValueError(f"advantage mode {mode!r} must be one of {ADVANTAGE_MODES}")
    if totals.shape[-1] == 1:
        return torch.zeros_like(totals)
    if mode == "per_reward":
        if columns is None:
            raise ValueError("advantage mode 'per_reward' needs the values of the reward terms (columns)")
        return _per_reward(columns, torch.ones_like(columns[0, 0]) if weights is None else weights)
    scaled = (totals - totals.mean(-1, keepdim=True)) / _divisor(totals, mode)
    return scaled if mode == "reference" else torch.where(is_flat(totals).unsqueeze(-1), 0.0, scaled)


def is_flat(rewards: Tensor) -> Tensor:
    """Groups that teach nothing, as all their rewards are equal: [B] bool; its mean is worth logging.

    >>> is_flat(torch.tensor([[0.0, 1.0], [2.0, 2.0]]))
    tensor([False,  True])
    """
    return rewards.amax(-1) == rewards.amin(-1)


def _divisor(totals: Tensor, mode: str) -> Tensor | float:
    if mode == "mean_only":
        return 1.0
    if mode == "leave_one_out":
        size = totals.shape[-1]
        return (size - 1) / size  # r_i - (G mean - r_i) / (G - 1) = (r_i - mean) G / (G - 1)
    return (totals.std() if mode == "batch_std" else totals.std(-1, keepdim=True)) + STD_FLOOR


def _per_reward(columns: Tensor, weights: Tensor) -> Tensor:
    terms = group_advantages(columns.transpose(-1, -2).flatten(0, 1), "std")  # [B K, G]
    sums = (terms.view(len(columns), -1, columns.shape[1]) * weights.to(terms).unsqueeze(-1)).sum(-2)
    return sums / (sums.std() + STD_FLOOR)
