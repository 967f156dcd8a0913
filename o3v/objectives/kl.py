"""Distance from the frozen reference model."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

CLAMP_NATS: Final = 10.0
"""Bound of the log-ratio inside the exponential (released code, grpo_trainer.py)."""


def k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """Estimate of KL(policy || reference) a token: exp(d) - d - 1, d = clamp(ref - policy, -10, 10), at least 0.

    The estimator k3 of J. Schulman, "Approximating KL divergence" (2020), as in GRPO, arXiv:2402.03300, eq. 4.

    Args:
        logprobs: [...] log-probabilities of the sampled tokens under the policy, in nats.
        ref_logprobs: [...] the same under the reference; no gradient flows into it.

    Returns:
        [...], without gradient where the clamp acts.

    Example:
        >>> k3(torch.tensor([-1.0, -1.0]), torch.tensor([-1.0, -2.0]))
        tensor([0.0000, 0.3679])
    """
    distance = (ref_logprobs.detach() - logprobs).clamp(-CLAMP_NATS, CLAMP_NATS)
    return torch.exp(distance) - distance - 1.0
