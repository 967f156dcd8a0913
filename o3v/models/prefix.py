"""A prompt, read once: what all its completions continue from, in the rollout and in the training pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from o3v.models.packing import pack_prompts
from o3v.models.passes import Pass, PromptPass
from o3v.models.policy import Encoded, Policy
from o3v.sections import in_section


@dataclass(frozen=True)
class Prefix:
    """B prompts after one pass through vision tower and language model.

    Attributes:
        keys, values: layer -> [1, KV, P_b, D] of each prompt.
        hidden: [B, H] last hidden state of each prompt, which predicts the first completion token.
        next_position: [B] M-RoPE position of the first completion token.
    """

    keys: tuple[tuple[Tensor, ...], ...]
    values: tuple[tuple[Tensor, ...], ...]
    hidden: Tensor
    next_position: Tensor

    def detach(self) -> Prefix:
        """The same numbers without their graph: what a rollout reads."""
        return Prefix(
            tuple(tuple(k.detach() for k in layer) for layer in self.keys),
            tuple(tuple(v.detach() for v in layer) for layer in self.values),
            self.hidden.detach(),
            self.next_position,
        )

    def select(self, prompts: Sequence[int]) -> Prefix:
        """Some of the prompts, in the given order."""
        index = torch.tensor(list(prompts), device=self.hidden.device)
        return Prefix(
            tuple(tuple(layer[b] for b in prompts) for layer in self.keys),
            tuple(tuple(layer[b] for b in prompts) for layer in self.values),
            self.hidden[index],
            self.next_position[index],
        )


def join(prefixes: Sequence[Prefix]) -> Prefix:
    """The prompts of several prefixes, one after the other."""
    if len(prefixes) == 1:
        return prefixes[0]
    return Prefix(
        tuple(tuple(k for layer in layers for k in layer) for layers in zip(*(p.keys for p in prefixes), strict=True)),
        tuple(
            tuple(v for layer in layers for v in layer) for layers in zip(*(p.values for p in prefixes), strict=True)
        ),
        torch.cat([p.hidden for p in prefixes]),
        torch.cat([p.next_position for p in prefixes]),
    )


@in_section("prefill")
def read_prompts(policy: Policy, prompts: Encoded) -> Prefix:
    """One pass over prompts of any length, laid end to end; with graph where gradients are on."""
    packed = pack_prompts(policy, prompts)
    reading = PromptPass(packed.lengths, packed.ends(0))
    hidden = run_row(policy, packed.input_ids, packed.positions, reading, prompts)
    layers = range(len(reading.keys))
    return Prefix(
        tuple(reading.keys[layer] for layer in layers),
        tuple(reading.values[layer] for layer in layers),
        hidden,
        packed.next_position,
    )


def run_row(
    policy: Policy,
    ids: Tensor,
    positions: Tensor,
    shared: Pass | None,
    prompts: Encoded | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """A row of N tokens through the library's own forward: last hidden states [N, H], or those of `shared.keep`.

    Args:
        policy: the model.
        ids: [N].
        positions: [3, N].
        shared: the pass, which says what a token attends to; None leaves it to `mask`.
        prompts: whose pixels stand for the row's vision tokens; None for a row without any.
        mask: [1, 1, N, N] bool, True where token i sees token j.
    """
    no_mask = positions.new_ones(1, 1, 1, 1, dtype=torch.bool)  # four axes: the library makes no mask of its own
    output = policy.model.model(
        input_ids=ids[None],
        attention_mask=no_mask if mask is None else mask,
        position_ids=positions[:, None],
        use_cache=False,
        **({} if shared is None else {"shared": shared}),
        **({} if prompts is None else prompts.media()),
    )
    return output.last_hidden_state[0]
