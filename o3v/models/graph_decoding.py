"""Decoding for a GPU: one token of every completion is one replay of a CUDA graph.

A decoding step is hundreds of small kernels, and starting them one by one takes longer than running them. A graph
starts them at once, but replays fixed addresses and shapes: the step counter lives on the device, each token attends
to the whole buffer of own keys with the places after it masked, and no completion leaves the batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from o3v.models.flash import MASK_STRIDE, biased_attention, merge
from o3v.models.passes import Layers, attend_prompts
from o3v.models.policy import Policy
from o3v.models.prefix import Prefix

_WARM_UPS = 2
"""Steps before the capture, in which kernels are loaded and workspaces made."""


@dataclass(frozen=True)
class StaticPass:
    """One token of each of N completions at a place that is known on the device only; see `o3v.models.passes.Pass`.

    Attributes:
        keys, values: layer -> keys and values of each prompt.
        own_keys, own_values: layer -> [N, KV, L, D], finite everywhere.
        rows: completions of each prompt, consecutive.
        step: [1] long, place of this token in its completion.
        bias: [L] of scores: 0 for own places up to this one, minus infinity for later ones; follows `step`.
    """

    keys: Layers
    values: Layers
    own_keys: tuple[Tensor, ...]
    own_values: tuple[Tensor, ...]
    rows: tuple[int, ...]
    step: Tensor
    bias: Tensor

    keep: ClassVar[None] = None
    """Every token predicts the next."""

    @classmethod
    def of(cls, prefix: Prefix, group_size: int, length: int) -> StaticPass:
        """Empty buffers for completions of at most `length` tokens."""
        rows = (group_size,) * len(prefix.hidden)
        length += -length % MASK_STRIDE
        return cls(
            prefix.keys,
            prefix.values,
            tuple(_buffer(layer[0], sum(rows), length) for layer in prefix.keys),
            tuple(_buffer(layer[0], sum(rows), length) for layer in prefix.values),
            rows,
            torch.zeros_like(prefix.next_position[:1]),
            prefix.hidden.new_zeros(length),
        )

    def begin(self) -> None:
        """Make `bias` follow `step`; once a token."""
        places = torch.arange(len(self.bias), device=self.bias.device)
        self.bias.zero_().masked_fill_(places > self.step, -math.inf)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        """See `Pass`; N is the number of completions."""
        own_k, own_v = self.own_keys[layer], self.own_values[layer]
        own_k.index_copy_(2, self.step, k[0].transpose(0, 1)[:, :, None])
        own_v.index_copy_(2, self.step, v[0].transpose(0, 1)[:, :, None])
        heads, kv_heads, dim = q.shape[1], k.shape[1], q.shape[-1]
        per_row = q[0].transpose(0, 1).reshape(-1, kv_heads, heads // kv_heads, dim)  # [N, KV, H/KV, D]
        over_prompt = attend_prompts(per_row, self.keys[layer], self.values[layer], self.rows, scale)
        merged, _ = merge(*over_prompt, *biased_attention(per_row, own_k, own_v, self.bias, scale))
        return merged.reshape(1, -1, heads, dim).transpose(1, 2)

    attend_kept = attend


class GraphDecoder:
    """As `o3v.models.decoding.Decoder`, over buffers that never move; completions cannot leave.

    Args:
        policy: the model.
        prefix: B prompts, without graph.
        group_size: G completions of each.
        length: most tokens of a completion.
        is_captured: replay a CUDA graph; without one every step is started kernel by kernel, on any device.
    """

    check_every: ClassVar[int] = 16
    """Steps after which it is worth to wait for the device and look whether all completions have ended."""

    def __init__(self, policy: Policy, prefix: Prefix, group_size: int, length: int, is_captured: bool) -> None:
        self._policy = policy
        self._first = prefix.next_position.repeat_interleave(group_size)
        self._tokens = torch.zeros_like(self._first)
        self._pass = StaticPass.of(prefix, group_size, length)
        self._no_mask = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=self._first.device)
        self._replay: Callable[[], Tensor] | None = None if is_captured else self._step

    @torch.no_grad()
    def advance(self, tokens: Tensor) -> Tensor:
        """Feed one token to each of the N completions; returns the states [N, H] that predict the next.

        The states are overwritten by the next call.
        """
        self._tokens.copy_(tokens)
        if self._replay is None:
            self._replay = self._capture()
        return self._replay()

    def _step(self) -> Tensor:
        language_model: Any = self._policy.model.model.language_model
        self._pass.begin()
        output = language_model(
            input_ids=self._tokens[None],
            attention_mask=self._no_mask,
            position_ids=(self._first + self._pass.step)[None, None].expand(3, 1, -1),
            use_cache=False,
            shared=self._pass,
        )
        self._pass.step.add_(1)
        return output.last_hidden_state[0]

    def _capture(self) -> Callable[[], Tensor]:
        """The graph of one step, the counter at 0."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_WARM_UPS):
                self._pass.step.zero_()
                self._step()
            self._pass.step.zero_()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            states = self._step()

        def replay() -> Tensor:
            graph.replay()
            return states

        return replay


def _buffer(like: Tensor, rows: int, length: int) -> Tensor:
    """[rows, KV, length, D] of zeros: what is masked must still be a number."""
    return like.new_zeros(rows, like.shape[1], length, like.shape[3])
