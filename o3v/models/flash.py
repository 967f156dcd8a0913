"""Attention of one block of queries over one block of keys, with the log-sum-exp that merging several blocks needs.

`torch.nn.functional.scaled_dot_product_attention` keeps the log-sum-exp to itself, so the kernels behind it are called
by name. A block's backward pass may be given the output and log-sum-exp of the *merged* attention: the probabilities
exp(score - lse) are then those of the whole, and so is each block's share of the gradient.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import pad

_ATEN = torch.ops.aten
_HALVES = (torch.bfloat16, torch.float16)

MASK_STRIDE: Final = 16
"""Keys under a bias come in multiples of this, or a GPU's kernels refuse its alignment."""

_LSE_STRIDE = 32
"""To a multiple of which the memory-efficient kernel wants the queries' log-sum-exp filled up."""


def shares_keys(q: Tensor) -> bool:
    """Whether `block_attention` takes keys with fewer heads than these queries, each shared by several of them.

    Elsewhere query heads of one key head can be folded into a longer block of queries. On a GPU that leaves the
    backward pass, which runs a program a block of keys and a head, with too few programs: 0.60 in place of 0.20 ms for
    16 query heads, 2 key heads, 2048 keys and 1024 queries on an H100.
    """
    return q.is_cuda and q.dtype in _HALVES


def block_attention(q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> tuple[Tensor, Tensor]:
    """Attention of S queries over K keys.

    Args:
        q: [B, H, S, D].
        k: [B, H, K, D] keys.
        v: [B, H, K, D] values.
        causal: query i sees keys 0 to i; needs S = K.
        scale: of the scores.

    Returns:
        out [B, H, S, D] and lse [B, H, S] float32 (float64 for float64), in nats.
    """
    if q.device.type == "cpu":
        return _ATEN._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, causal, scale=scale)
    if q.is_cuda and q.dtype in _HALVES:
        out, lse = _ATEN._scaled_dot_product_flash_attention(q, k, v, 0.0, causal, False, scale=scale)[:2]
        return out, lse
    if q.is_cuda and q.dtype == torch.float32:
        out, lse = _ATEN._scaled_dot_product_efficient_attention(q, k, v, None, True, 0.0, causal, scale=scale)[:2]
        return out, lse[..., : q.shape[2]]
    return _plain_attention(q, k, v, causal, scale)


def block_attention_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, causal: bool, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q, k and v for the gradient of the merged output; see `block_attention` for shapes."""
    if q.device.type == "cpu":
        return _ATEN._scaled_dot_product_flash_attention_for_cpu_backward(
            grad, q, k, v, out, lse, 0.0, causal, scale=scale
        )
    if q.is_cuda and q.dtype in _HALVES:
        none = _no_random_state(q)
        return _ATEN._scaled_dot_product_flash_attention_backward(
            grad, q, k, v, out, lse, None, None, q.shape[2], k.shape[2], 0.0, causal, *none, scale=scale
        )
    if q.is_cuda and q.dtype == torch.float32:
        full = pad(lse, (0, -lse.shape[-1] % _LSE_STRIDE), value=math.inf)
        wanted = [True, True, True, False]
        return _ATEN._scaled_dot_product_efficient_attention_backward(
            grad, q, k, v, None, out, full, *_no_random_state(q), 0.0, wanted, causal, scale=scale
        )[:3]
    return _plain_attention_backward(grad, q, k, v, out, lse, causal, scale)


def biased_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """As `block_attention`, forward only, with a number added to the scores of each key.

    Args:
        q: [B, H, S, D].
        k: [B, H, K, D], K a multiple of `MASK_STRIDE`.
        v: [B, H, K, D].
        bias: [K] in the type of q; minus infinity hides a key, whose value must still be finite.
        scale: of the scores.
    """
    full = bias.expand(*q.shape[:3], k.shape[2])
    if q.device.type == "cpu":
        return _ATEN._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, False, attn_mask=full, scale=scale)
    if q.is_cuda:
        out, lse = _ATEN._scaled_dot_product_efficient_attention(q, k, v, full, True, 0.0, False, scale=scale)[:2]
        return out, lse[..., : q.shape[2]]
    scores = _scores(q, k, False, scale) + bias
    lse = scores.logsumexp(-1)
    return (scores - lse.unsqueeze(-1)).exp().to(v.dtype) @ v, lse


def merge(out_a: Tensor, lse_a: Tensor, out_b: Tensor, lse_b: Tensor) -> tuple[Tensor, Tensor]:
    """Attention over two blocks of keys from the attention over each: out [..., D] and lse [...]."""
    lse = torch.logaddexp(lse_a, lse_b)
    weight_a, weight_b = (lse_a - lse).exp().unsqueeze(-1), (lse_b - lse).exp().unsqueeze(-1)
    return (out_a * weight_a + out_b * weight_b).to(out_a.dtype), lse


def _no_random_state(q: Tensor) -> tuple[Tensor, Tensor]:
    """Seed and offset of a dropout that there is not."""
    none = torch.empty(2, dtype=torch.uint64, device=q.device)
    return none, none


def _scores(q: Tensor, k: Tensor, causal: bool, scale: float) -> Tensor:
    scores = (q @ k.transpose(-1, -2)).float() * scale if q.dtype != torch.float64 else q @ k.transpose(-1, -2) * scale
    if causal:
        future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
        scores = scores.masked_fill(future, -math.inf)
    return scores


def _plain_attention(q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> tuple[Tensor, Tensor]:
    scores = _scores(q, k, causal, scale)
    lse = scores.logsumexp(-1)
    return (scores - lse.unsqueeze(-1)).exp().to(v.dtype) @ v, lse


def _plain_attention_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, causal: bool, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    weights = (_scores(q, k, causal, scale) - lse.unsqueeze(-1)).exp()
    inner = (grad * out).sum(-1, keepdim=True)
    slope = (weights * (grad @ v.transpose(-1, -2) - inner) * scale).to(q.dtype)
    return slope @ k, slope.transpose(-1, -2) @ q, weights.to(grad.dtype).transpose(-1, -2) @ grad
