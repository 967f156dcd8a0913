"""Attention of a group's completions over their shared prompt and over themselves, the prompt's keys read once.

    out = merge(attention(q, prompt), attention(q, own completion))

Each part is one call of a fused kernel: over the prompt all completions are one long block of queries (a key/value head
serves its query heads and all G completions without a copy), over themselves they are a batch of G rows. Merged by
log-sum-exp; the parts' backward kernels are given the merged output and log-sum-exp, which makes each part's gradient
exact (as in ring attention, arXiv:2310.01889).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from o3v.models.flash import block_attention, block_attention_backward, merge, shares_keys
from o3v.models.ragged import Ragged


def group_attention(
    q: Tensor, k: Tensor, v: Tensor, prompt_k: Tensor, prompt_v: Tensor, rows: Ragged, scale: float
) -> Tensor:
    """Attention of the completions of one prompt.

    Args:
        q: [1, H, T, D] queries of all completions, laid end to end.
        k: [1, KV, T, D] their own keys, KV a divisor of H.
        v: [1, KV, T, D] their own values.
        prompt_k: [1, KV, P, D] keys of the prompt.
        prompt_v: [1, KV, P, D] values of the prompt.
        rows: where completions begin and end.
        scale: of the scores.

    Returns:
        [1, H, T, D]; each token has seen the prompt and its own completion up to itself.
    """
    return _GroupAttention.apply(q, k, v, prompt_k, prompt_v, rows, scale)


class _GroupAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, prompt_k: Tensor, prompt_v: Tensor, rows: Ragged, scale: float
    ) -> Tensor:
        heads = q.shape[1]
        out_prompt, lse_prompt = block_attention(_fold(q, _folded(q, k)), prompt_k, prompt_v, False, scale)
        own = (rows.pad(q), _expand(rows.pad(k), heads), _expand(rows.pad(v), heads))
        out_own, lse_own = block_attention(*own, True, scale)
        out, lse = merge(
            _unfold(out_prompt, heads),
            _unfold(lse_prompt.unsqueeze(-1), heads).squeeze(-1),
            rows.unpad(out_own),
            rows.unpad(lse_own),
        )
        ctx.save_for_backward(q, k, v, prompt_k, prompt_v, out, lse)
        ctx.rows, ctx.scale = rows, scale
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, prompt_k, prompt_v, out, lse = ctx.saved_tensors
        rows, scale, (heads, kv_heads) = ctx.rows, ctx.scale, (q.shape[1], k.shape[1])
        grad = grads[0]
        folded = _folded(q, k)
        fold_q, fold_grad, fold_out = (_fold(x, folded) for x in (q, grad, out))
        fold_lse = _fold(lse.unsqueeze(-1), folded).squeeze(-1)
        dq, dpk, dpv = block_attention_backward(fold_grad, fold_q, prompt_k, prompt_v, fold_out, fold_lse, False, scale)
        own_k, own_v = _expand(rows.pad(k), heads).contiguous(), _expand(rows.pad(v), heads).contiguous()
        own_q, own_out, own_lse = (rows.pad(x).contiguous() for x in (q, out, lse))
        own_grad = rows.pad_zeros(grad).contiguous()
        dq_own, dk, dv = block_attention_backward(own_grad, own_q, own_k, own_v, own_out, own_lse, True, scale)
        dq = _unfold(dq, heads) + rows.unpad(dq_own)
        return dq, _reduce(rows.unpad(dk), kv_heads), _reduce(rows.unpad(dv), kv_heads), dpk, dpv, None, None


def _folded(q: Tensor, k: Tensor) -> int:
    """Heads of the folded queries; all of them where the kernel shares keys by itself."""
    return q.shape[1] if shares_keys(q) else k.shape[1]


def _fold(x: Tensor, kv_heads: int) -> Tensor:
    """[1, H, T, D] -> [1, KV, (H / KV) * T, D]: the query heads of a key/value head become further queries."""
    return x.reshape(1, kv_heads, -1, x.shape[-1])


def _unfold(x: Tensor, heads: int) -> Tensor:
    return x.reshape(1, heads, -1, x.shape[-1])


def _expand(x: Tensor, heads: int) -> Tensor:
    """[G, KV, L, D] -> [G, H, L, D]."""
    return x.repeat_interleave(heads // x.shape[1], 1)


def _reduce(x: Tensor, kv_heads: int) -> Tensor:
    """[1, H, T, D] -> [1, KV, T, D], the sum over the query heads of a key/value head."""
    return x.reshape(1, kv_heads, -1, *x.shape[2:]).sum(2)
