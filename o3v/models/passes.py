"""What a token may attend to in each kind of pass through the language model.

The library's attention layers call `shared_prefix_attention` with the pass that was handed to `forward` as the keyword
`shared`; without one they attend as they always do. The name stays set on the language model for good: recomputation
under gradient checkpointing looks it up during the backward pass.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from o3v.models.flash import block_attention, merge
from o3v.models.group_attention import group_attention
from o3v.models.ragged import Ragged

ATTENTION = "shared_prefix"
"""Name under which the library finds this attention."""


class Pass(Protocol):
    """One pass over a row of N tokens."""

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        """[1, H, N, D] queries and [1, KV, N, D] keys and values of the row -> [1, H, N, D]."""
        ...


def shared_prefix_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    shared: Pass | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention as the library's interface wants it: [1, N, H, D] and no weights."""
    if shared is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return shared.attend(module.layer_idx, query, key, value, scale).transpose(1, 2), None


AttentionInterface.register(ATTENTION, shared_prefix_attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)


@dataclass(frozen=True)
class PromptPass:
    """B prompts in one row, each attending to itself; keeps every layer's keys and values.

    Attributes:
        lengths: tokens of each prompt.
        keys, values: filled by the pass: layer -> [1, KV, P_b, D] of each prompt, with their graph. The first call of a
            layer counts: recomputation in a backward pass changes nothing.
    """

    lengths: tuple[int, ...]
    keys: dict[int, tuple[Tensor, ...]] = field(default_factory=dict)
    values: dict[int, tuple[Tensor, ...]] = field(default_factory=dict)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        """See `Pass`."""
        keys, values = k.split(self.lengths, 2), v.split(self.lengths, 2)
        self.keys.setdefault(layer, keys)
        self.values.setdefault(layer, values)
        queries = q.split(self.lengths, 2)
        return torch.cat([_causal(*own, scale) for own in zip(queries, keys, values, strict=True)], 2)


@dataclass(frozen=True)
class CompletionPass:
    """Completions in one row, attending to a prompt that was read before.

    Attributes:
        prompts: layer -> keys and values of each prompt.
        rows: the completions of each prompt; None where no completion has a token in the row.
        tokens: tokens of each prompt's completions.
    """

    keys: tuple[tuple[Tensor, ...], ...]
    values: tuple[tuple[Tensor, ...], ...]
    rows: tuple[Ragged, ...]
    tokens: tuple[int, ...]

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        """See `Pass`."""
        own = zip(*(x.split(self.tokens, 2) for x in (q, k, v)), strict=True)
        prompts = zip(self.keys[layer], self.values[layer], self.rows, strict=True)
        parts = [
            group_attention(*qkv, *kv, rows, scale)
            for qkv, (*kv, rows) in zip(own, prompts, strict=True)
            if rows.rows
        ]
        return torch.cat(parts, 2)


@dataclass(frozen=True)
class PackedPass:
    """B prompts and then their completions in one row: nothing is kept, prompt and completions are one pass.

    Attributes:
        prompts: tokens of each prompt.
        rows, tokens: as in `CompletionPass`.
    """

    prompts: tuple[int, ...]
    rows: tuple[Ragged, ...]
    tokens: tuple[int, ...]

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        """See `Pass`."""
        sizes = [sum(self.prompts), sum(self.tokens)]
        (pq, cq), (pk, ck), (pv, cv) = (x.split(sizes, 2) for x in (q, k, v))
        read = PromptPass(self.prompts)
        out = read.attend(0, pq, pk, pv, scale)
        if not sum(self.tokens):
            return out
        later = CompletionPass((read.keys[0],), (read.values[0],), self.rows, self.tokens)
        return torch.cat([out, later.attend(0, cq, ck, cv, scale)], 2)


@dataclass
class DecodePass:
    """One token of each of N completions: over the prompts' keys in one copy, and over own keys written in place.

    Attributes:
        keys, values: layer -> keys and values of each prompt.
        own_keys, own_values: layer -> [N, KV, L, D], filled up to `step`.
        rows: completions of each prompt, consecutive.
        step: place of this token in its completion.
    """

    keys: tuple[tuple[Tensor, ...], ...]
    values: tuple[tuple[Tensor, ...], ...]
    own_keys: list[Tensor]
    own_values: list[Tensor]
    rows: list[int]
    step: int

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        """See `Pass`; N is the number of completions."""
        own_k, own_v = self.own_keys[layer], self.own_values[layer]
        own_k[:, :, self.step] = k[0].transpose(0, 1)
        own_v[:, :, self.step] = v[0].transpose(0, 1)
        heads, kv_heads, dim = q.shape[1], k.shape[1], q.shape[-1]
        per_row = q[0].transpose(0, 1).reshape(-1, kv_heads, heads // kv_heads, dim)  # [N, KV, H/KV, D]
        end = self.step + 1
        out, lse = block_attention(per_row, own_k[:, :, :end], own_v[:, :, :end], False, scale)
        parts = [
            self._over_prompt(part, self.keys[layer][b], self.values[layer][b], scale)
            for b, part in enumerate(per_row.split(self.rows))
            if len(part)
        ]
        merged, _ = merge(torch.cat([o for o, _ in parts]), torch.cat([s for _, s in parts]), out, lse)
        return merged.reshape(1, -1, heads, dim).transpose(1, 2)

    @staticmethod
    def _over_prompt(q: Tensor, k: Tensor, v: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        """[n, KV, R, D] -> the same and [n, KV, R], all rows as one block of queries a key/value head."""
        rows, kv_heads, repeats, dim = q.shape
        block = q.transpose(0, 1).reshape(1, kv_heads, rows * repeats, dim)
        out, lse = block_attention(block, k, v, False, scale)
        out = out.reshape(kv_heads, rows, repeats, dim).transpose(0, 1)
        return out, lse.reshape(kv_heads, rows, repeats).transpose(0, 1)


def _causal(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    return scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale, enable_gqa=True)
