"""One token at a time for many completions of shared prompts.

The prompts' keys and values stay in one copy; each completion has own ones in a buffer of fixed length, written in
place. The library's cache would hold a copy of the prompt for every completion and rebuild both at every token.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from o3v.models.passes import DecodePass
from o3v.models.policy import Policy
from o3v.models.prefix import Prefix


class Decoder:
    """The state of N = B*G completions that grow together.

    Args:
        policy: the model.
        prefix: B prompts, without graph.
        group_size: G completions of each.
        length: most tokens of a completion.
    """

    check_every: ClassVar[int] = 1
    """Steps after which it is looked whether completions have ended."""

    def __init__(self, policy: Policy, prefix: Prefix, group_size: int, length: int) -> None:
        self._policy = policy
        self._positions = prefix.next_position.repeat_interleave(group_size)
        self._prompt_of = torch.arange(len(prefix.hidden)).repeat_interleave(group_size)
        layers, rows = len(prefix.keys), len(self._positions)
        self._pass = DecodePass(
            prefix.keys,
            prefix.values,
            [_buffer(prefix.keys[layer][0], rows, length) for layer in range(layers)],
            [_buffer(prefix.values[layer][0], rows, length) for layer in range(layers)],
            [group_size] * len(prefix.hidden),
            0,
        )
        self._no_mask = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=self._positions.device)

    def advance(self, tokens: Tensor) -> Tensor:
        """Feed one token to each of the N completions; returns the states [N, H] that predict the next."""
        language_model: Any = self._policy.model.model.language_model
        positions = (self._positions + self._pass.step)[None, None].expand(3, 1, -1)
        output = language_model(
            input_ids=tokens[None],
            attention_mask=self._no_mask,
            position_ids=positions,
            use_cache=False,
            shared=self._pass,
        )
        self._pass.step += 1
        return output.last_hidden_state[0]

    def keep(self, rows: Tensor) -> None:
        """Go on with some of the completions only, ascending row numbers [n]."""
        self._positions = self._positions[rows]
        self._prompt_of = self._prompt_of[rows.cpu()]
        self._pass.rows = torch.bincount(self._prompt_of, minlength=len(self._pass.rows)).tolist()
        for buffers in (self._pass.own_keys, self._pass.own_values):
            buffers[:] = [buffer[rows] for buffer in buffers]


def _buffer(like: Tensor, rows: int, length: int) -> Tensor:
    """[rows, KV, length, D]."""
    return like.new_empty(rows, like.shape[1], length, like.shape[3])
