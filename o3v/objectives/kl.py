"""Distance from the frozen reference model, estimated from the sampled tokens."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

CLAMP_NATS: Final = 10.0
"""Bound of the log-ratio inside the exponential (released code, grpo_trainer.py)."""

KL_ESTIMATORS = ("k1", "k2", "k3")


def kl_estimate(logprobs: Tensor, ref_logprobs: Tensor, estimator: str) -> Tensor:
    """Estimate of KL(policy || reference) a token, with d = ref - policy in nats.

    k1: -d              mean KL, may be negative; its gradient has mean 0 on the policy
    k2: d^2 / 2         biased, at least 0; its gradient is that of KL(policy || reference) on the policy
    k3: exp(d) - d - 1  mean KL, at least 0; its gradient is that of KL(reference || policy) on the policy

    J. Schulman, "Approximating KL divergence" (2020); k3 in GRPO, arXiv:2402.03300, eq. 4. Multiplied by the token's
    differentiable importance ratio, k1 and k3 have the gradient of KL(policy || reference) as well, off the policy too
    (DeepSeek-V3.2, arXiv:2512.02556, sec. 3.1, eq. 7): `kl_bias_correction` of the objective.

    Args:
        logprobs: [...] log-probabilities of the sampled tokens under the policy, in nats.
        ref_logprobs: [...] the same under the reference; no gradient flows into it.
        estimator: one of `KL_ESTIMATORS`.

    Returns:
        [...]; k3 without gradient where its clamp acts.

    Example:
        >>> lp, ref = torch.tensor([-1.0, -1.0]), torch.tensor([-1.0, -2.0])
        >>> [round(float(kl_estimate(lp, ref, name)[1]), 3) for name in KL_ESTIMATORS]
        [1.0, 0.5, 0.368]
    """
    if estimator == "k1":
        return logprobs - ref_logprobs.detach()
    if estimator == "k2":
        return 0.5 * (logprobs - ref_logprobs.detach()) ** 2
    if estimator == "k3":
        return k3(logprobs, ref_logprobs)
    raise ValueError(f"KL estimator {estimator!r} must be one of {KL_ESTIMATORS}")


def k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """exp(d) - d - 1 with d = clamp(ref - policy, -10, 10); arguments and result as in `kl_estimate`.

    >>> k3(torch.tensor([-1.0, -1.0]), torch.tensor([-1.0, -2.0]))
    tensor([0.0000, 0.3679])
    """
    distance = (ref_logprobs.detach() - logprobs).clamp(-CLAMP_NATS, CLAMP_NATS)
    return torch.exp(distance) - distance - 1.0
