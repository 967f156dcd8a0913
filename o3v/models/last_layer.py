"""The last layer only where somebody reads it.

Of a prompt's last hidden states only the final one is read, by the head. Its last layer therefore needs keys and values
of every token, which completions attend to, but queries, output projection and MLP of one: about 1/layers of the
prompt's work in every forward and backward pass is left out, with the same numbers.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from torch import Tensor

from o3v.errors import ConfigError
from o3v.models.passes import Pass


def trim_last_layer(model: Any) -> None:
    """Let the last layer of a vision-language model follow `Pass.keep`; without one it does what it always does.

    Raises:
        ConfigError: vision features are added behind the last layer (deepstack), for every token.
    """
    layers = model.language_model.layers
    stacked = len(getattr(model.visual, "deepstack_visual_indexes", ()))
    if stacked >= len(layers):
        raise ConfigError(f"model.architecture: {stacked} deepstack_visual_indexes need more than {len(layers)} layers")
    layers[-1].forward = MethodType(_forward, layers[-1])


def _forward(layer: Any, hidden_states: Tensor, shared: Pass | None = None, **kwargs: Any) -> Tensor:
    """The layer's `forward` for the tokens of `shared.keep`: [1, N, H] -> [1, kept, H].

    Not checkpointed: recomputation would begin with this very layer, so nothing would be saved.
    """
    if shared is None:
        return type(layer).forward(layer, hidden_states, **kwargs)
    if shared.keep is None:
        return type(layer).forward(layer, hidden_states, shared=shared, **kwargs)
    attention = layer.self_attn
    normed = layer.input_layernorm(hidden_states)
    cos, sin = kwargs["position_embeddings"]
    query = _heads(attention, "q", normed[:, shared.keep])
    query = _rotate(query, cos[:, shared.keep], sin[:, shared.keep])
    key = _rotate(_heads(attention, "k", normed), cos, sin)
    value = _heads(attention, "v", normed)
    out = shared.attend_kept(attention.layer_idx, query, key, value, attention.scaling)
    hidden = hidden_states[:, shared.keep] + attention.o_proj(out.transpose(1, 2).flatten(2))
    return hidden + layer.mlp(layer.post_attention_layernorm(hidden))


def _heads(attention: Any, name: str, hidden: Tensor) -> Tensor:
    """[1, N, H] -> [1, heads, N, D], through the norm that Qwen3-VL has for queries and keys."""
    heads = getattr(attention, f"{name}_proj")(hidden).unflatten(-1, (-1, attention.head_dim))
    norm = getattr(attention, f"{name}_norm", None)
    return (heads if norm is None else norm(heads)).transpose(1, 2)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding of [1, heads, N, D] by [1, N, D]."""
    first, second = x.chunk(2, -1)
    return x * cos[:, None] + torch.cat([-second, first], -1) * sin[:, None]
