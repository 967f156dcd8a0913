"""Several questions about one video: what their prompts have in common is read once.

A benchmark's questions about a video begin with the same system text and the same frames and differ in a few words at
the end. The common tokens pass vision tower and language model once; each question's own tokens continue from their
keys and values, as completions do.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from o3v.models.packing import prompt_positions
from o3v.models.passes import CompletionPass
from o3v.models.policy import Encoded, Policy
from o3v.models.prefix import Prefix, join, read_prompts, run_row
from o3v.models.ragged import Ragged


def read_together(policy: Policy, prompts: Encoded, media: Sequence[Hashable]) -> Prefix:
    """As `read_prompts`, the common beginning of prompts with the same media read once.

    Args:
        policy: the model.
        prompts: B prompts.
        media: B keys; prompts with equal keys show the same pixels in the same order.

    Returns:
        The B prompts in their order, with the numbers of `read_prompts`.
    """
    alike: dict[Hashable, list[int]] = {}
    for row, key in enumerate(media):
        alike.setdefault(key, []).append(row)
    common = {key: common_tokens(prompts.select(rows)) for key, rows in alike.items() if len(rows) > 1}
    sharing = [(rows, common[key]) for key, rows in alike.items() if common.get(key)]
    alone = [row for key, rows in alike.items() if not common.get(key) for row in rows]
    parts = [_read_group(policy, prompts.select(rows), length) for rows, length in sharing]
    if alone:  # one pass for all that share nothing
        parts.append(read_prompts(policy, prompts.select(alone)))
    order = [row for rows, _ in sharing for row in rows] + alone
    places = {row: place for place, row in enumerate(order)}
    return join(parts).select([places[row] for row in range(len(order))])


@dataclass(frozen=True)
class _ReadingPass:
    """Prompts' own tokens, continuing from common ones; keeps their keys and values."""

    inner: CompletionPass
    keys: dict[int, Tensor] = field(default_factory=dict)
    values: dict[int, Tensor] = field(default_factory=dict)

    keep: ClassVar[None] = None

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        self.keys[layer], self.values[layer] = k, v
        return self.inner.attend(layer, q, k, v, scale)

    attend_kept = attend


def _read_group(policy: Policy, prompts: Encoded, common: int) -> Prefix:
    """Prompts that show the same pixels and begin with so many common tokens."""
    positions, next_position = prompt_positions(policy, prompts)
    real = prompts.attention_mask.bool()
    ids = [row[mask][common:] for row, mask in zip(prompts.input_ids, real, strict=True)]
    own = [positions[:, row, mask][:, common:] for row, mask in enumerate(real)]
    lengths = [len(row) for row in ids]
    shared = read_prompts(policy, _beginning(prompts, common))
    rows = Ragged.of(lengths, policy.device)
    reading = _ReadingPass(CompletionPass(shared.keys, shared.values, (rows,), (sum(lengths),)))
    hidden = run_row(policy, torch.cat(ids), torch.cat(own, 1), reading)
    ends = torch.tensor(lengths, device=hidden.device).cumsum(0) - 1
    return Prefix(
        tuple(_continued(keys[0], reading.keys[layer], lengths) for layer, keys in enumerate(shared.keys)),
        tuple(_continued(values[0], reading.values[layer], lengths) for layer, values in enumerate(shared.values)),
        hidden[ends],
        next_position,
    )


def common_tokens(prompts: Encoded) -> int:
    """How many tokens prompts begin with in common, 0 where sharing them is not possible or no gain.

    At least one token of each prompt is left over, to predict from; all vision tokens must be among the common ones.
    """
    if len(prompts.input_ids) < 2:
        return 0
    real = prompts.attention_mask.bool()
    rows = [row[mask] for row, mask in zip(prompts.input_ids, real, strict=True)]
    shortest = min(len(row) for row in rows)
    same = torch.stack([row[:shortest] == rows[0][:shortest] for row in rows]).all(0)
    common = min(int(same.long().cumprod(0).sum()), shortest - 1)
    kinds = [row[mask] for row, mask in zip(prompts.mm_token_type_ids, real, strict=True)]
    return 0 if any(bool(kind[common:].any()) for kind in kinds) else common


def _beginning(prompts: Encoded, common: int) -> Encoded:
    """The common tokens as a prompt of their own, with the pixels of the first."""
    first = prompts.select([0])
    start = first.input_ids.shape[1] - int(first.attention_mask.sum())
    cut = slice(start, start + common)
    return replace(
        first,
        input_ids=first.input_ids[:, cut],
        attention_mask=first.attention_mask[:, cut],
        mm_token_type_ids=first.mm_token_type_ids[:, cut],
    )


def _continued(common: Tensor, own: Tensor, lengths: Sequence[int]) -> tuple[Tensor, ...]:
    """[1, KV, c, D] and [1, KV, T, D] -> keys or values of each prompt."""
    return tuple(torch.cat([common, part], 2) for part in own.split(list(lengths), 2))
