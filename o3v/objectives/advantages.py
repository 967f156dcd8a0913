"""Advantages of the completions of one prompt over each other."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

STD_FLOOR: Final = 1e-4
"""Added to the standard deviation (released code, grpo_trainer.py:676)."""

ADVANTAGE_MODES = ("std", "mean_only", "reference")


def group_advantages(rewards: Tensor, mode: str) -> Tensor:
    """Group-relative advantages.

    std:        A_i = (r_i - mean) / (std + 1e-4), std with G - 1 in the denominator   GRPO, arXiv:2402.03300, sec. 4.1
    mean_only:  A_i = r_i - mean                                                    Dr. GRPO, arXiv:2503.20783, sec. 3.2
    reference:  as std, to the last digit of the released code (see below)

    Args:
        rewards: [B, G] totals.
        mode: one of `ADVANTAGE_MODES`.

    Returns:
        [B, G]. 0 for a group whose rewards are all equal, so also for G = 1.

    Differs from the reference: G = 1 gives 0, not NaN (grpo_trainer.py:676). The mean of equal numbers can be off in
    its last digit, which the division by 1e-4 turns into an advantage of about 0.001; `reference` keeps that.

    Example:
        >>> group_advantages(torch.tensor([[0.0, 1.0], [2.0, 2.0]]), "std")
        tensor([[-0.7070,  0.7070],
                [ 0.0000,  0.0000]])
        >>> group_advantages(torch.tensor([[3.0]]), "std")
        tensor([[0.]])
    """
    if mode not in ADVANTAGE_MODES:
        raise ValueError(f"advantage mode {mode!r} must be one of {ADVANTAGE_MODES}")
    if rewards.shape[-1] == 1:
        return torch.zeros_like(rewards)
    centred = rewards - rewards.mean(-1, keepdim=True)
    scaled = centred if mode == "mean_only" else centred / (rewards.std(-1, keepdim=True) + STD_FLOOR)
    return (
        scaled if mode == "reference" else torch.where(is_flat(rewards).unsqueeze(-1), torch.zeros_like(scaled), scaled)
    )


def is_flat(rewards: Tensor) -> Tensor:
    """Groups that teach nothing, as all their rewards are equal: [B] bool; its mean is worth logging.

    >>> is_flat(torch.tensor([[0.0, 1.0], [2.0, 2.0]]))
    tensor([False,  True])
    """
    return rewards.amax(-1) == rewards.amin(-1)
