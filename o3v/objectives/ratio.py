"""The importance ratio between the policy and the policy that sampled, for a completion or for each of its tokens."""

from __future__ import annotations

import torch
from torch import Tensor

from o3v.objectives.masked import masked_mean

RATIO_LEVELS = ("sequence", "sequence_token", "token")


def token_log_ratio(logprobs: Tensor, old_logprobs: Tensor, completion_mask: Tensor) -> Tensor:
    """Log importance ratio of each token, 0 where masked.

    log pi(y_t) - log pi_old(y_t)                                        GRPO, arXiv:2402.03300, eq. 3

    Args:
        logprobs: [N, L] under the current policy, in nats.
        old_logprobs: [N, L] under the policy that sampled; no gradient flows into it.
        completion_mask: [N, L] bool, True up to and including EOS.

    Returns:
        [N, L].

    Example:
        >>> token_log_ratio(torch.tensor([[-1.0, 9.0]]), torch.tensor([[-1.5, 0.0]]), torch.tensor([[True, False]]))
        tensor([[0.5000, 0.0000]])
    """
    return torch.where(completion_mask, logprobs - old_logprobs.detach(), torch.zeros_like(logprobs))


def sequence_log_ratio(logprobs: Tensor, old_logprobs: Tensor, completion_mask: Tensor) -> Tensor:
    """Length-normalised log importance ratio of each completion, log s_i of GSPO.

    log s_i = (1 / |y_i|) * sum_t (log pi(y_it) - log pi_old(y_it))      GSPO, arXiv:2507.18071, eq. 7

    Args:
        logprobs: [N, L] under the current policy, in nats.
        old_logprobs: [N, L] under the policy that sampled; no gradient flows into it.
        completion_mask: [N, L] bool, True up to and including EOS.

    Returns:
        [N]. 0 for a completion without tokens.

    Differs from the reference: it takes the current values, detached, for the old ones, so its ratio is always 1
    (grpo_trainer.py:691).

    Example:
        >>> lp, old = torch.tensor([[-1.0, -2.0, 9.9]]), torch.tensor([[-1.5, -1.9, 0.0]])
        >>> sequence_log_ratio(lp, old, torch.tensor([[True, True, False]])).round(decimals=3)
        tensor([0.2000])
    """
    return masked_mean(token_log_ratio(logprobs, old_logprobs, completion_mask), completion_mask)


def importance_ratio(logprobs: Tensor, old_logprobs: Tensor, completion_mask: Tensor, level: str) -> Tensor:
    """Importance ratio at one of three levels.

    sequence:       s_i                                                         GSPO, arXiv:2507.18071, eq. 7
    sequence_token: s_it = sg[s_i] * pi(y_it) / sg[pi(y_it)]              GSPO-token, arXiv:2507.18071, sec. 4.3
    token:          pi(y_it) / pi_old(y_it)                                     GRPO, arXiv:2402.03300, eq. 3

    sg stops the gradient. s_it has the value of s_i and the gradient of its own token alone. With one advantage a
    completion, as here, loss and gradient of the first two are the same (the paper's sec. 4.3); the KL term under
    bias correction and the count of clipped tokens differ.

    Args:
        logprobs: [N, L] under the current policy, in nats; what stands under False may be anything.
        old_logprobs: [N, L] under the policy that sampled; no gradient flows into it.
        completion_mask: [N, L] bool, True up to and including EOS.
        level: one of `RATIO_LEVELS`.

    Returns:
        [N, 1] for "sequence", else [N, L]; the token's ratio is 1 where masked.

    Example:
        >>> lp, old = torch.tensor([[-1.0, -1.0]]).double(), torch.tensor([[-1.5, -1.0]])
        >>> mask = torch.tensor([[True, True]])
        >>> [importance_ratio(lp, old, mask, level).log().add(0.001).mul(100).int().tolist() for level in RATIO_LEVELS]
        [[[25]], [[25, 25]], [[50, 0]]]
    """
    if level == "token":
        return torch.exp(token_log_ratio(logprobs, old_logprobs, completion_mask))
    sequence = torch.exp(sequence_log_ratio(logprobs, old_logprobs, completion_mask)).unsqueeze(-1)
    if level == "sequence":
        return sequence
    if level == "sequence_token":
        return sequence.detach() * torch.exp(token_log_ratio(logprobs, logprobs, completion_mask))
    raise ValueError(f"ratio level {level!r} must be one of {RATIO_LEVELS}")
