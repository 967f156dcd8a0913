"""What a token may attend to in each kind of pass through the language model.

The library's attention layers call `shared_prefix_attention` with the pass that was handed to `forward` as the keyword
`shared`; without one they attend as they always do. The name stays set on the language model for good: recomputation
under gradient checkpointing looks it up during the backward pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

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


Layers = Sequence[tuple[Tensor, ...]] | Mapping[int, tuple[Tensor, ...]]
"""layer -> [1, KV, P_b, D] of each of B prompts."""


class Pass(Protocol):
    """One pass over a row of N tokens."""

    @property
    def keep(self) -> Tensor | None:
        """Tokens whose last hidden state is read, ascending; None for all."""
        ...

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        """[1, H, N, D] queries and [1, KV, N, D] keys and values of the row -> [1, H, N, D]."""
        ...

    def attend_kept(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        """As `attend` with queries of the tokens of `keep` only."""
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
        keep: the last token of each prompt.
        keys, values: filled by the pass: layer -> [1, KV, P_b, D] of each prompt, with their graph. The first call of a
            layer counts: recomputation in a backward pass changes nothing.
    """

    lengths: tuple[int, ...]
    keep: Tensor
    keys: dict[int, tuple[Tensor, ...]] = field(default_factory=dict)
    values: dict[int, tuple[Tensor, ...]] = field(default_factory=dict)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        """See `Pass`."""
        return self._attend(layer, q.split(self.lengths, 2), k, v, scale, True)

    def attend_kept(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        """See `Pass`: one query a prompt, which sees all of it."""
        return self._attend(layer, q.split(1, 2), k, v, scale, False)

    def _attend(
        self, layer: int, queries: tuple[Tensor, ...], k: Tensor, v: Tensor, scale: float, causal: bool
    ) -> Tensor:
        keys, values = k.split(self.lengths, 2), v.split(self.lengths, 2)
        self.keys.setdefault(layer, keys)
        self.values.setdefault(layer, values)
        own = zip(queries, keys, values, strict=True)
        return torch.cat(
            [scaled_dot_product_attention(*qkv, is_causal=causal, scale=scale, enable_gqa=True) for qkv in own], 2
        )


@dataclass(frozen=True)
class CompletionPass:
    """Completions in one row, attending to a prompt that was read before.

    Attributes:
        keys, values: layer -> keys and values of each prompt.
        rows: the completions of each prompt.
        tokens: tokens of each prompt's completions.
    """

    keys: Layers
    values: Layers
    rows: tuple[Ragged, ...]
    tokens: tuple[int, ...]

    keep: ClassVar[None] = None
    """Every token predicts the next."""

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        """See `Pass`."""
        own = (x.split(self.tokens, 2) for x in (q, k, v))
        groups = zip(*own, self.keys[layer], self.values[layer], self.rows, strict=True)
        parts = [
            group_attention(own_q, own_k, own_v, prompt_k, prompt_v, rows, scale)
            for own_q, own_k, own_v, prompt_k, prompt_v, rows in groups
            if rows.rows
        ]
        return torch.cat(parts, 2)

    attend_kept = attend


@dataclass(frozen=True)
class PackedPass:
    """B prompts and then their completions in one row: nothing is kept, prompt and completions are one pass.

    Attributes:
        prompts: tokens of each prompt.
        rows, tokens: as in `CompletionPass`.
        keep: the last token of each prompt, and all tokens of completions.
    """

    prompts: tuple[int, ...]
    rows: tuple[Ragged, ...]
    tokens: tuple[int, ...]
    keep: Tensor

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        """See `Pass`."""
        read, (pk, ck), (pv, cv) = self._parts(k, v)
        pq, cq = q.split([sum(self.prompts), sum(self.tokens)], 2)
        return self._continue(read, read.attend(layer, pq, pk, pv, scale), layer, (cq, ck, cv), scale)

    def attend_kept(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        """See `Pass`."""
        read, (pk, ck), (pv, cv) = self._parts(k, v)
        pq, cq = q.split([len(self.prompts), sum(self.tokens)], 2)
        return self._continue(read, read.attend_kept(layer, pq, pk, pv, scale), layer, (cq, ck, cv), scale)

    def _parts(self, *row: Tensor) -> tuple[Any, ...]:
        sizes = [sum(self.prompts), sum(self.tokens)]
        return PromptPass(self.prompts, self.keep), *(x.split(sizes, 2) for x in row)

    def _continue(
        self, read: PromptPass, out: Tensor, layer: int, own: tuple[Tensor, Tensor, Tensor], scale: float
    ) -> Tensor:
        if not sum(self.tokens):
            return out
        later = CompletionPass(read.keys, read.values, self.rows, self.tokens)
        return torch.cat([out, later.attend(layer, *own, scale)], 2)


@dataclass
class DecodePass:
    """One token of each of N completions: over the prompts' keys in one copy, and over own keys written in place.

    Attributes:
        keys, values: layer -> keys and values of each prompt.
        own_keys, own_values: layer -> [N, KV, L, D], filled up to `step`.
        rows: completions of each prompt, consecutive.
        step: place of this token in its completion.
    """

    keys: Layers
    values: Layers
    own_keys: list[Tensor]
    own_values: list[Tensor]
    rows: list[int]
    step: int

    keep: ClassVar[None] = None
    """Every token predicts the next."""

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        """See `Pass`; N is the number of completions."""
        own_k, own_v = self.own_keys[layer], self.own_values[layer]
        own_k[:, :, self.step] = k[0].transpose(0, 1)
        own_v[:, :, self.step] = v[0].transpose(0, 1)
        heads, kv_heads, dim = q.shape[1], k.shape[1], q.shape[-1]
        per_row = q[0].transpose(0, 1).reshape(-1, kv_heads, heads // kv_heads, dim)  # [N, KV, H/KV, D]
        end = self.step + 1
        out, lse = block_attention(per_row, own_k[:, :, :end], own_v[:, :, :end], False, scale)
        over_prompt = attend_prompts(per_row, self.keys[layer], self.values[layer], self.rows, scale)
        merged, _ = merge(*over_prompt, out, lse)
        return merged.reshape(1, -1, heads, dim).transpose(1, 2)

    attend_kept = attend


def attend_prompts(
    q: Tensor, keys: Sequence[Tensor], values: Sequence[Tensor], rows: Sequence[int], scale: float
) -> tuple[Tensor, Tensor]:
    """Attention of one token of each of N completions over its prompt, whose keys are read once for all of them.

    Args:
        q: [N, KV, R, D], the R query heads of each key/value head.
        keys: [1, KV, P_b, D] of each prompt.
        values: as keys.
        rows: completions of each prompt, consecutive.
        scale: of the scores.

    Returns:
        out [N, KV, R, D] and lse [N, KV, R].
    """
    parts = [_over_prompt(part, keys[b], values[b], scale) for b, part in enumerate(q.split(list(rows))) if len(part)]
    return torch.cat([out for out, _ in parts]), torch.cat([lse for _, lse in parts])


def _over_prompt(q: Tensor, k: Tensor, v: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """[n, KV, R, D] -> the same and [n, KV, R], all rows as one block of queries a key/value head."""
    rows, kv_heads, repeats, dim = q.shape
    block = q.transpose(0, 1).reshape(1, kv_heads, rows * repeats, dim)
    out, lse = block_attention(block, k, v, False, scale)
    out = out.reshape(kv_heads, rows, repeats, dim).transpose(0, 1)
    return out, lse.reshape(kv_heads, rows, repeats).transpose(0, 1)
