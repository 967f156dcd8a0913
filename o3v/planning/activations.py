"""Bytes that a forward pass leaves for its backward pass, counted from what each operation keeps.

One token in a layer of the language model, H wide, Q = heads x head dimension, K the same of keys, I inside the MLP, in
weights of b bytes (docs/memory.md lists the operations):

    two norms        2 (in, normed, out)      2 H (4 + 2 b) in half precision, 6 H b in float32
    attention        q, k, v, out, o's input  (3 Q + 2 K) b
    gated MLP        gate, SiLU, up, product  4 I b

With checkpointing a layer keeps its input (H b) and is computed again, one at a time. The last layer of a pass that
shares the prompt keeps keys and values of all tokens, the rest of the tokens that are read (`o3v.models.last_layer`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_FLOAT = 4


@dataclass(frozen=True)
class Layer:
    """Bytes of one token (or patch) in one layer.

    Attributes:
        kept: for the backward pass.
        boundary: the layer's input, which is all that checkpointing keeps.
        working: what exists beside that while the layer is computed backward, gradients included.
        keys: keys and values alone.
    """

    kept: float
    boundary: float
    working: float
    keys: float


def text_layer(text: Any, bytes_each: int, adapters: tuple[str, ...] | None) -> Layer:
    """A layer of the language model.

    Args:
        text: its configuration.
        bytes_each: of a number.
        adapters: names of layers with an adapter where nothing else learns; None where everything does.
    """
    wide, inner, b = text.hidden_size, text.intermediate_size, bytes_each
    head = getattr(text, "head_dim", None) or wide // text.num_attention_heads
    q, k = text.num_attention_heads * head, text.num_key_value_heads * head
    attention = (3 * q + 2 * k) * b
    if "qwen3" in text.model_type:  # norms of queries and keys
        attention += (q + k) * (_norm(b) - b)
    kept = 2 * wide * _norm(b) + attention + 4 * inner * b
    if adapters is not None:
        kept = _with_adapters(wide, q, k, inner, b, adapters, attention)
    return Layer(kept, wide * b, (2 * wide + 3 * inner) * b, 2 * k * b)


def _norm(b: int) -> int:
    """Of one number: its float32 form, normed, and out. In float32 the first is the input itself."""
    return _FLOAT + 2 * b


def _with_adapters(wide: int, q: int, k: int, inner: int, b: int, adapters: tuple[str, ...], attention: float) -> float:
    """A frozen product keeps nothing; an adapter keeps its input in float32."""
    inputs = {"q_proj": wide, "k_proj": wide, "v_proj": wide, "o_proj": q, "gate_proj": wide, "up_proj": wide}
    inputs["down_proj"] = inner
    cast = sum(inputs[name] for name in adapters if name in inputs)
    if b == _FLOAT:  # no copy: what several adapters read is one tensor
        cast = wide * 2 + q + inner
    return 2 * wide * _FLOAT + attention - q * b + 3 * inner * b + cast * _FLOAT


def vision_block(vision: Any, bytes_each: int) -> Layer:
    """A block of the vision tower, of one patch."""
    wide, inner, b = vision.hidden_size, vision.intermediate_size, bytes_each
    if hasattr(vision, "fullatt_block_indexes"):  # Qwen2.5-VL: RMS norms and a gated MLP
        kept = 2 * wide * _norm(b) + 5 * wide * b + 4 * inner * b
        return Layer(kept, wide * b, (4 * wide + 3 * inner) * b, 0)
    return Layer((9 * wide + 2 * inner) * b, wide * b, (4 * wide + 2 * inner) * b, 0)


def vision_rest(vision: Any, bytes_each: int) -> float:
    """Of one patch, outside the blocks: its pixels, and the mergers' inputs inside."""
    pixels = 3 * vision.temporal_patch_size * vision.patch_size**2
    mergers = 1 + len(getattr(vision, "deepstack_visual_indexes", ()))
    return (pixels + mergers * 3 * vision.hidden_size) * bytes_each + vision.hidden_size * _norm(bytes_each)


def vision_bytes(vision: Any, patches: int, bytes_each: int, checkpointing: bool) -> float:
    """Kept by a pass of patches through the tower."""
    block = vision_block(vision, bytes_each)
    each = vision.depth * (block.boundary if checkpointing else block.kept)
    return patches * (each + vision_rest(vision, bytes_each))


def text_bytes(text: Any, layer: Layer, tokens: int, read: int, checkpointing: bool, keeps_keys: bool) -> float:
    """Kept by a row of tokens through the language model.

    Args:
        text: its configuration.
        layer: of one token.
        tokens: in the row.
        read: tokens whose last hidden state is read; equal to `tokens` where all are.
        checkpointing: of the layers.
        keeps_keys: keys and values of every layer stay beside what checkpointing keeps.
    """
    depth = text.num_hidden_layers
    inner = layer.boundary + (layer.keys if keeps_keys else 0) if checkpointing else layer.kept
    if read == tokens:
        return tokens * (depth * inner + layer.boundary)
    last = tokens * (3 * layer.boundary + layer.keys) + read * layer.kept
    return tokens * (depth - 1) * inner + last
