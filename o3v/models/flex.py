"""Training passes by FlexAttention: one kernel call a layer for all prompts of a row and all their completions.

Blocks of 128 x 128 scores that no query may see are never computed, whole prompts need no mask, and only blocks on a
diagonal look at single tokens. The map of blocks follows from who stands where in the row, so no mask of N x N is made.

Attention in blocks: arXiv:2412.05496 (FlexAttention).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from o3v.models.passes import Layers

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

_BLOCK = 128
_PROMPT = -1


@dataclass(frozen=True)
class Owners:
    """Whose each of the N tokens of a row is: B prompts, then the completions of each.

    Attributes:
        group: [N] number of the prompt to which the token belongs.
        own: [N] number of its completion, -1 for tokens of a prompt.
    """

    group: Tensor
    own: Tensor

    @classmethod
    def of(cls, prompts: Sequence[int], completions: Sequence[Sequence[int]], device: torch.device | str) -> Owners:
        """From the lengths of prompts, and of each prompt's completions.

        >>> owners = Owners.of([2], [[1, 0, 2]], "cpu")
        >>> owners.group.tolist(), owners.own.tolist()
        ([0, 0, 0, 0, 0], [-1, -1, 0, 2, 2])
        """
        lengths = [*prompts, *chain(*completions)]
        groups = [*range(len(prompts)), *(b for b, rows in enumerate(completions) for _ in rows)]
        owns = [*[_PROMPT] * len(prompts), *range(len(lengths) - len(prompts))]
        repeats = torch.tensor(lengths)
        both = torch.tensor([groups, owns], dtype=torch.int32).repeat_interleave(repeats, 1).to(device)
        return cls(both[0], both[1])

    def mask(self, queries: Tensor) -> BlockMask:
        """Who sees whom: a token its prompt, and its own completion up to itself.

        Args:
            queries: [Q] places in the row of the tokens that look, ascending; all N may be seen.
        """
        from torch.nn.attention.flex_attention import BlockMask

        group, own = self.group, self.own
        q_group, q_own = group[queries], own[queries]

        def sees(batch: Tensor, head: Tensor, q: Tensor, k: Tensor) -> Tensor:
            same = (group[k] == q_group[q]) & ((own[k] == _PROMPT) | (own[k] == q_own[q]))
            return same & (k <= queries[q])

        seen, whole = self._blocks(queries)
        return BlockMask.from_kv_blocks(
            *_listed(seen & ~whole), *_listed(whole), _BLOCK, sees, (len(queries), len(group))
        )

    def _blocks(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """[blocks of Q, blocks of N] bool: pairs in which a query may see a key, and in which all see all.

        From the smallest and largest number in a block, so a pair may stand in the first without need, and never in the
        second without right.
        """
        place, group, own = (_Range.of(x) for x in (torch.arange(len(self.group), device=queries.device), *self._both))
        q_place, q_group, q_own = (_Range.of(x) for x in (queries, self.group[queries], self.own[queries]))
        seen = (place.low <= q_place.high.T) & group.meets(q_group) & ((own.low == _PROMPT) | own.meets(q_own))
        whole = (place.high <= q_place.low.T) & group.equals(q_group) & ((own.high == _PROMPT) | own.equals(q_own))
        if len(self.group) % _BLOCK:
            whole[:, -1] = False  # its padding is for the mask to leave out
        return seen, whole

    @property
    def _both(self) -> tuple[Tensor, Tensor]:
        return self.group, self.own


@dataclass(frozen=True)
class _Range:
    """Smallest and largest number in each of n blocks, [1, n]; against those of the queries, [1, m] -> [m, n]."""

    low: Tensor
    high: Tensor

    @classmethod
    def of(cls, numbers: Tensor) -> _Range:
        missing = -len(numbers) % _BLOCK
        blocks = torch.cat([numbers, numbers[-1:].expand(missing)]).view(-1, _BLOCK)
        return cls(blocks.amin(1)[None], blocks.amax(1)[None])

    def meets(self, queries: _Range) -> Tensor:
        return (self.low <= queries.high.T) & (self.high >= queries.low.T)

    def equals(self, queries: _Range) -> Tensor:
        alone = (self.low == self.high) & (queries.low == queries.high).T
        return alone & (self.low == queries.low.T)


def _listed(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """[m, n] bool -> number of True a row [1, 1, m] and their columns first [1, 1, m, n], int32."""
    order = blocks.int().argsort(dim=1, descending=True, stable=True)
    return blocks.sum(1, dtype=torch.int32)[None, None], order.int()[None, None]


@dataclass(frozen=True)
class FlexPass:
    """A pass over a row under one mask of blocks, made once for all layers; see `o3v.models.passes.Pass`.

    Attributes:
        mask: of the row's queries.
        keep: as `Pass.keep`.
        keep_mask: of the queries of `keep`; None where every token is kept.
        keys, values: layer -> of each prompt that was read before; None where prompts are in the row.
    """

    mask: BlockMask
    keep: Tensor | None
    keep_mask: BlockMask | None
    keys: Layers | None
    values: Layers | None

    @classmethod
    def packed(cls, prompts: Sequence[int], completions: Sequence[Sequence[int]], keep: Tensor) -> FlexPass:
        """B prompts and then their completions in one row, from their lengths; see `PackedPass`."""
        owners = Owners.of(prompts, completions, keep.device)
        everyone = torch.arange(len(owners.group), device=keep.device)
        return cls(owners.mask(everyone), keep, owners.mask(keep), None, None)

    @classmethod
    def later(cls, keys: Layers, values: Layers, completions: Sequence[Sequence[int]]) -> FlexPass:
        """Completions in one row, attending to prompts that were read before; see `CompletionPass`."""
        prompts = [k.shape[2] for k in keys[0]]
        owners = Owners.of(prompts, completions, keys[0][0].device)
        places = torch.arange(sum(prompts), len(owners.group), device=owners.group.device)
        return cls(owners.mask(places), None, None, keys, values)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        """See `Pass`."""
        return self._attend(self.mask, layer, q, k, v, scale)

    def attend_kept(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        """See `Pass`."""
        return self._attend(self.mask if self.keep_mask is None else self.keep_mask, layer, q, k, v, scale)

    def _attend(self, mask: BlockMask, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        if self.keys is not None and self.values is not None:
            k, v = torch.cat([*self.keys[layer], k], 2), torch.cat([*self.values[layer], v], 2)
        return _kernel(q.device.type)(q, k, v, block_mask=mask, scale=scale, enable_gqa=True)


@cache
def _kernel(device: str) -> Callable[..., Any]:
    """Compiled on a GPU, at its first use; elsewhere the plain computation, which has no backward pass."""
    from torch.nn.attention.flex_attention import flex_attention

    kernel: Any = flex_attention
    return torch.compile(kernel, dynamic=True) if device == "cuda" else kernel
