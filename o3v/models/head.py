"""The language model's head at the positions that count, in chunks, recomputed in the backward pass.

Log-probabilities are a float32 log-softmax under any weights' type. The reference materialises logits of every prompt
token in bf16 (defect T6).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from o3v.models.policy import Policy

_CHUNK = 1024
"""Positions whose logits exist at one time: 1,024 x 152k x 4 bytes = 0.6 GB for the 7B models."""


@dataclass(frozen=True)
class TokenScores:
    """What the model says of given tokens.

    Attributes:
        logprobs: [N, L] nats with gradient, 0 where masked.
        entropy: [N, L] nats of the distribution from which the token came, without gradient, 0 where masked.
    """

    logprobs: Tensor
    entropy: Tensor


def score_tokens(
    policy: Policy,
    states: Tensor,
    ids: Tensor,
    mask: Tensor,
    temperature: float = 1.0,
    banned_ids: Sequence[int] | None = None,
) -> TokenScores:
    """Log-probabilities of given tokens under the head; banned tokens have no probability.

    Args:
        policy: whose head.
        states: [T, H] states that predict the True tokens of `mask`, in its row-major order.
        ids: [N, L].
        mask: [N, L] bool with T True.
        temperature: of the distribution; logits are divided by it.
        banned_ids: tokens without probability; None stands for the policy's own.
    """
    banned = torch.tensor(policy.banned_ids if banned_ids is None else banned_ids, device=ids.device).long()
    logprobs, entropy = _Head.apply(states / temperature, policy.model.lm_head.weight, ids[mask], banned)
    empty = torch.zeros(ids.shape, device=states.device, dtype=logprobs.dtype)
    return TokenScores(empty.masked_scatter(mask, logprobs), empty.masked_scatter(mask, entropy))


class _Head(torch.autograd.Function):
    """Saves states and one log-sum-exp a token instead of logits."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, ids: Tensor, banned: Tensor) -> tuple[Tensor, Tensor]:
        parts = [_chunk(states[part], weight, ids[part], banned) for part in _chunks(len(states))]
        columns = zip(*parts, strict=True) if parts else [[states.new_zeros(0, dtype=_wide(states))]] * 3
        logprobs, lse, entropy = (torch.cat(list(column)) for column in columns)
        ctx.save_for_backward(states, weight, ids, banned, lse)
        ctx.mark_non_differentiable(entropy)
        return logprobs, entropy

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        states, weight, ids, banned, lse = ctx.saved_tensors
        d_states = torch.empty_like(states) if ctx.needs_input_grad[0] else None
        d_weight = torch.zeros_like(weight, dtype=_wide(weight)) if ctx.needs_input_grad[1] else None
        for part in _chunks(len(states)):
            slope = _slope(_logits(states[part], weight, banned), lse[part], ids[part], grads[0][part])
            slope = slope.to(weight.dtype)
            if d_states is not None:
                torch.mm(slope, weight, out=d_states[part])
            if d_weight is not None:
                _add_product(d_weight, slope, states[part])
        return d_states, None if d_weight is None else d_weight.to(weight.dtype), None, None


def _chunks(count: int) -> list[slice]:
    return [slice(start, min(start + _CHUNK, count)) for start in range(0, count, _CHUNK)]


def _wide(tensor: Tensor) -> torch.dtype:
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def _logits(states: Tensor, weight: Tensor, banned: Tensor) -> Tensor:
    return (states @ weight.T).to(_wide(states)).index_fill_(1, banned, float("-inf"))


def _chunk(states: Tensor, weight: Tensor, ids: Tensor, banned: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probability, log-sum-exp and entropy of each token, with one exponential a logit."""
    logits = _logits(states, weight, banned)
    chosen = logits.gather(1, ids[:, None]).squeeze(1)
    top = logits.amax(1, keepdim=True)
    shifted = logits.sub_(top).clamp_(min=-1e4)  # finite where banned, so that 0 * shifted is 0
    weights = shifted.exp()
    total = weights.sum(1)
    entropy = total.log() - torch.linalg.vecdot(weights, shifted) / total
    lse = total.log() + top.squeeze(1)
    return chosen - lse, lse, entropy


def _slope(logits: Tensor, lse: Tensor, ids: Tensor, grad: Tensor) -> Tensor:
    """Gradient of the logits: grad * (one-hot - probabilities)."""
    slope = logits.sub_(lse[:, None]).exp_().mul_(-grad[:, None])
    slope.scatter_add_(1, ids[:, None], grad[:, None])
    return slope


def _add_product(total: Tensor, slope: Tensor, states: Tensor) -> None:
    """total += slope^T states, in the sum's own (wider) type."""
    if slope.dtype == total.dtype:
        total.addmm_(slope.T, states)
    else:
        total.add_(slope.T @ states)
