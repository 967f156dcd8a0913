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

from o3v.models.linear import Product, product_of
from o3v.models.policy import Policy

_CHUNK_LOGITS = {"cpu": 2**22, "cuda": 2**27}
"""Logits that exist at one time: what a CPU's cache holds (16 MiB), what keeps a GPU busy (0.5 GiB)."""

_KEPT_LOGITS = 2**25
"""So many (128 MiB) are kept for the backward pass, which then computes none again; all or none of a call's."""


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
    head = policy.model.lm_head
    logprobs, entropy = _Head.apply(states / temperature, head.weight, ids[mask], banned, product_of(head))
    empty = torch.zeros(ids.shape, device=states.device, dtype=logprobs.dtype)
    return TokenScores(empty.masked_scatter(mask, logprobs), empty.masked_scatter(mask, entropy))


class _Head(torch.autograd.Function):
    """Saves states and one log-sum-exp a token; probabilities too where they are few."""

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, weight: Tensor, ids: Tensor, banned: Tensor, product: Product
    ) -> tuple[Tensor, Tensor]:
        keeps = len(states) * len(weight) <= _KEPT_LOGITS and any(ctx.needs_input_grad[:2])
        ctx.kept, ctx.product = [], product
        columns: tuple[list[Tensor], ...] = ([], [], [])
        for part in _chunks(states, weight):
            *values, weights = _chunk(_logits(states[part], weight, banned, product), ids[part])
            for column, value in zip(columns, values, strict=True):
                column.append(value)
            if keeps:
                ctx.kept.append(weights)
        empty = states.new_zeros(0, dtype=_wide(states))
        logprobs, lse, entropy = (torch.cat([empty, *column]) for column in columns)
        ctx.save_for_backward(states, weight, ids, banned, lse)
        ctx.mark_non_differentiable(entropy)
        return logprobs, entropy

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        states, weight, ids, banned, lse = ctx.saved_tensors
        d_states = torch.empty_like(states) if ctx.needs_input_grad[0] else None
        d_weight = torch.zeros_like(weight, dtype=_wide(weight)) if ctx.needs_input_grad[1] else None
        for number, part in enumerate(_chunks(states, weight)):
            if ctx.kept:
                shares = ctx.kept[number]
            else:
                shares = _logits(states[part], weight, banned, ctx.product).sub_(lse[part, None]).exp_()
            slope = _slope(shares, ids[part], grads[0][part]).to(weight.dtype)
            if d_states is not None:
                d_states[part] = ctx.product(slope, weight.T)
            if d_weight is not None:
                d_weight += ctx.product(slope.T, states[part].T)
        return d_states, None if d_weight is None else d_weight.to(weight.dtype), None, None, None


def _chunks(states: Tensor, weight: Tensor) -> list[slice]:
    size = max(1, _CHUNK_LOGITS.get(states.device.type, 2**22) // len(weight))
    return [slice(start, start + size) for start in range(0, len(states), size)]


def _wide(tensor: Tensor) -> torch.dtype:
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def _logits(states: Tensor, weight: Tensor, banned: Tensor, product: Product) -> Tensor:
    return product(states, weight).to(_wide(states)).index_fill_(1, banned, float("-inf"))


def _chunk(logits: Tensor, ids: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Log-probability, log-sum-exp, entropy and probabilities of each token, one exponential a logit."""
    chosen = logits.gather(1, ids[:, None]).squeeze(1)
    top = logits.amax(1, keepdim=True)
    shifted = logits.sub_(top).clamp_(min=-1e4)  # finite where banned, so that 0 * shifted is 0
    weights = shifted.exp()
    total = weights.sum(1)
    entropy = total.log() - torch.bmm(weights[:, None], shifted[:, :, None]).flatten() / total
    lse = total.log() + top.squeeze(1)
    return chosen - lse, lse, entropy, weights.div_(total[:, None])


def _slope(shares: Tensor, ids: Tensor, grad: Tensor) -> Tensor:
    """Gradient of the logits, grad * (one-hot - probabilities); a new tensor, the probabilities may be needed again."""
    slope = shares * -grad[:, None]
    return slope.scatter_add_(1, ids[:, None], grad[:, None])
