"""What is maximised in place of the expected reward, from ratio and advantage, and what its clip takes away."""

from __future__ import annotations

import torch
from torch import Tensor

SURROGATES = ("clip", "cispo")


def clip_surrogate(ratio: Tensor, clipped: Tensor, gain: Tensor) -> Tensor:
    """min(w A, clip(w) A): no gradient once the ratio has left its range on the side to which the advantage pulls.

    PPO, arXiv:1707.06347, eq. 7; with two half-widths DAPO, arXiv:2503.14476, eq. 8.

    Args:
        ratio: [N, 1] or [N, L].
        clipped: the ratio within its range.
        gain: [N, 1] advantages.

    Returns:
        The shape of `ratio`.

    Example:
        >>> ratio = torch.tensor([[1.5], [1.5]])
        >>> clip_surrogate(ratio, ratio.clamp(0.75, 1.25), torch.tensor([[1.0], [-1.0]])).tolist()
        [[1.25], [-1.5]]
    """
    return torch.minimum(ratio * gain, clipped * gain)


def cispo_surrogate(clipped: Tensor, gain: Tensor, logprobs: Tensor, completion_mask: Tensor) -> Tensor:
    """sg[clip(w)] A log pi(y_t): the clip bounds a token's weight and takes no token's gradient.

    CISPO, arXiv:2506.13585, sec. 3.1; sg stops the gradient.

    Args:
        clipped: [N, 1] or [N, L] ratio within its range.
        gain: [N, 1] advantages.
        logprobs: [N, L] under the current policy, in nats; what stands under False may be anything.
        completion_mask: [N, L] bool.

    Returns:
        [N, L], 0 where masked.

    Example:
        >>> lp, mask = torch.tensor([[-2.0, 7.0]]), torch.tensor([[True, False]])
        >>> (cispo_surrogate(torch.tensor([[1.5]]), torch.tensor([[1.0]]), lp, mask) + 0.0).tolist()
        [[-3.0, 0.0]]
    """
    return clipped.detach() * gain * torch.where(completion_mask, logprobs, torch.zeros_like(logprobs))


def clip_acts(ratio: Tensor, clipped: Tensor, gain: Tensor, surrogate: str) -> tuple[Tensor, Tensor]:
    """Where the clip acts below and above 1.

    For "clip" where it takes the gradient: below on a negative advantage, above on a positive one. For "cispo" where it
    changes the weight: on either sign, not on advantage 0.

    Args:
        ratio: [N, 1] or [N, L].
        clipped: the ratio within its range.
        gain: [N, 1] advantages.
        surrogate: one of `SURROGATES`.

    Returns:
        (low, high), bool in the shape of `ratio`.

    Example:
        >>> ratio = torch.tensor([[0.5], [0.5], [2.0], [2.0]])
        >>> gain = torch.tensor([[1.0], [-1.0], [1.0], [-1.0]])
        >>> [side.flatten().tolist() for side in clip_acts(ratio, ratio.clamp(0.8, 1.2), gain, "clip")]
        [[False, True, False, False], [False, False, True, False]]
    """
    below, above = ratio < clipped, ratio > clipped
    if surrogate == "cispo":
        return below & (gain != 0), above & (gain != 0)
    return below & (gain < 0), above & (gain > 0)
