"""Completions that are too long: less reward near the limit, or no say at all when they were cut off."""

from __future__ import annotations

import torch
from torch import Tensor

OVERLONG_MODES = ("keep", "filter")


def soft_overlong_penalty(lengths: Tensor, max_length: int, cache: int) -> Tensor:
    """Reward of a completion's length: 0, then down to -1 over the last tokens before the limit.

    0 where |y| <= L_max - L_cache, (L_max - L_cache - |y|) / L_cache up to L_max, -1 beyond.
                                                                            DAPO, arXiv:2503.14476, eq. 13
    Args:
        lengths: [...] tokens of completions, EOS included.
        max_length: L_max in tokens.
        cache: L_cache in tokens; 0 turns the penalty off.

    Returns:
        [...] float, in [-1, 0].

    Example:
        >>> soft_overlong_penalty(torch.tensor([60, 80, 90, 100]), 100, 20).tolist()
        [0.0, 0.0, -0.5, -1.0]
        >>> soft_overlong_penalty(torch.tensor([100]), 100, 0).tolist()
        [0.0]
    """
    if cache == 0:
        return torch.zeros(lengths.shape, device=lengths.device)
    return (max_length - cache - lengths.float()).div(cache).clamp(-1.0, 0.0) + 0.0


def kept_completions(completed: Tensor, overlong: str) -> Tensor:
    """Completions that take part in the loss.

    "keep" keeps all, "filter" those that ended by themselves (DAPO, arXiv:2503.14476, sec. 3.4: the reward of a
    truncated completion says little about its reasoning). Rewards of the others still enter the group's mean.

    Args:
        completed: [N] bool, False for a completion that reached the length limit without EOS.
        overlong: one of `OVERLONG_MODES`.

    Returns:
        [N] bool.

    Example:
        >>> completed = torch.tensor([True, False])
        >>> kept_completions(completed, "keep").tolist(), kept_completions(completed, "filter").tolist()
        ([True, True], [True, False])
    """
    if overlong not in OVERLONG_MODES:
        raise ValueError(f"overlong {overlong!r} must be one of {OVERLONG_MODES}")
    return completed if overlong == "filter" else torch.ones_like(completed)
