"""Prompts and completions laid end to end in one row, without padding, and where everything stands in it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from o3v.models.policy import Encoded, Policy


@dataclass(frozen=True)
class PackedPrompts:
    """B prompts in one row of P tokens.

    Attributes:
        input_ids: [P].
        positions: [3, P] M-RoPE positions.
        lengths: tokens of each prompt, B integers.
        next_position: [B] M-RoPE position of the first completion token.
    """

    input_ids: Tensor
    positions: Tensor
    lengths: tuple[int, ...]
    next_position: Tensor

    def ends(self, completions: int) -> Tensor:
        """Places of each prompt's last token and of so many completion tokens that stand behind the prompts."""
        total = sum(self.lengths)
        ends = [sum(self.lengths[: b + 1]) - 1 for b in range(len(self.lengths))]
        return torch.tensor([*ends, *range(total, total + completions)], device=self.input_ids.device)


@dataclass(frozen=True)
class PackedCompletions:
    """B*G completions in one row of T tokens.

    The last token of a completion is scored but predicts nothing, so it is not in the row.

    Attributes:
        input_ids: [T].
        positions: [3, T] M-RoPE positions; every completion starts again at its prompt's next one.
        lengths: tokens in the row of each completion, for each prompt.
        sources: for each scored token, in row-major order of the mask, the state that predicts it: b < B for the end
            of prompt b, B + t for token t of this row.
    """

    input_ids: Tensor
    positions: Tensor
    lengths: tuple[tuple[int, ...], ...]
    sources: Tensor


def prompt_positions(policy: Policy, prompts: Encoded) -> tuple[Tensor, Tensor]:
    """M-RoPE positions of prompts, [3, B, P], and the position after each, [B].

    The one place where positions come from: they are passed explicitly to every forward, so state that the library
    keeps from an earlier call (`rope_deltas`) can never enter. Computed on the host: the library's loop over rows and
    images would stall an accelerator at every number it reads.
    """
    no_pixels, no_frames = prompts.pixel_values[:0], prompts.pixel_values_videos[:0]
    host = replace(prompts, pixel_values=no_pixels, pixel_values_videos=no_frames).to("cpu")
    positions, _ = policy.model.model.get_rope_index(
        host.input_ids,
        mm_token_type_ids=host.mm_token_type_ids,
        image_grid_thw=host.image_grid_thw if len(host.image_grid_thw) else None,
        video_grid_thw=host.video_grid_thw if len(host.video_grid_thw) else None,
        second_per_grid_ts=host.second_per_grid_ts if len(host.video_grid_thw) else None,
        attention_mask=host.attention_mask,
    )
    next_position = positions.masked_fill(host.attention_mask[None] == 0, -1).amax((0, 2)) + 1
    return positions.to(policy.device), next_position.to(policy.device)


def pack_prompts(policy: Policy, prompts: Encoded) -> PackedPrompts:
    """The prompts' own tokens, padding left out."""
    positions, next_position = prompt_positions(policy, prompts)
    real = prompts.attention_mask.bool()
    return PackedPrompts(
        prompts.input_ids[real], positions[:, real], tuple(prompts.attention_mask.sum(1).tolist()), next_position
    )


def pack_completions(ids: Tensor, mask: Tensor, next_position: Tensor) -> PackedCompletions:
    """Lay completions end to end.

    Args:
        ids: [B*G, L] right-padded, G consecutive rows a prompt.
        mask: [B*G, L] bool, True on tokens up to and including EOS.
        next_position: [B] M-RoPE position of each prompt's first completion token.

    Example:
        >>> ids = torch.tensor([[5, 6, 7], [8, 0, 0]])
        >>> packed = pack_completions(ids, ids > 0, torch.tensor([10]))
        >>> packed.input_ids.tolist(), packed.positions[0].tolist(), packed.lengths, packed.sources.tolist()
        ([5, 6], [10, 11], ((2, 0),), [0, 1, 2, 0])
    """
    prompts, group = len(next_position), len(ids) // len(next_position)
    of_row = torch.arange(prompts, device=ids.device).repeat_interleave(group)
    predicts = mask[:, 1:]
    steps = torch.arange(ids.shape[1] - 1, device=ids.device).expand_as(predicts)
    positions = (next_position[of_row][:, None] + steps)[predicts]
    sources = torch.zeros_like(ids)
    sources[:, 0] = of_row
    sources[:, 1:][predicts] = prompts + torch.arange(len(positions), device=ids.device)
    lengths = predicts.sum(1).tolist()
    return PackedCompletions(
        ids[:, :-1][predicts],
        positions.expand(3, -1),
        tuple(tuple(lengths[b * group : (b + 1) * group]) for b in range(prompts)),
        sources[mask],
    )
