"""The least floating-point work of one GSPO step, as arithmetic over a model's sizes.

For one prompt of P tokens whose frames pass the vision tower (V), and G completions of L tokens, with V, P and L
standing for the work of one forward pass over them (P and L with causal attention, L with the LM head, which only
completions need; a multiplication and an addition are two operations):

    rollout    V + P + G L
    forward    G L                    the prompt's forward pass is kept from the rollout
    backward   2 (V + P) + 2 G L      twice a forward pass: gradients of inputs and of weights
    reference  V + P + G L            only with a KL term

The dense computation, which carries the prompt in every row, is G (V + P + L) in the rollout and three times that in
training. What the floor neglects on its low side: softmax, norms, rotary embedding, optimizer. On its high side: the
last token of a completion need not be fed (1/L of the completions), frames need no gradient, and the last layer needs
only the prompt's last token.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Work:
    """Floating-point operations, apart by kind because counters see them apart.

    Attributes:
        products: with weights (linear layers, patch embedding, LM head).
        attention: queries with keys and weights with values, of the pairs that the mask allows.
    """

    products: float
    attention: float

    def __add__(self, other: Work) -> Work:
        return Work(self.products + other.products, self.attention + other.attention)

    def __mul__(self, times: float) -> Work:
        return Work(self.products * times, self.attention * times)

    __rmul__ = __mul__

    @property
    def total(self) -> float:
        """Both kinds."""
        return self.products + self.attention


@dataclass(frozen=True)
class PassWork:
    """One forward pass over each part of a row: V, P and L of the module's text.

    Attributes:
        vision: the prompt's frames through the vision tower.
        prompt: P tokens through the language model, without the head.
        completion: L tokens after the prompt, with the head.
    """

    vision: Work
    prompt: Work
    completion: Work

    @property
    def row(self) -> Work:
        """A whole row."""
        return self.vision + self.prompt + self.completion


def pass_work(config: Any, prompt: int, completion: int, frames: int, image_px: int) -> PassWork:
    """Work of one forward pass over each part of a row.

    Args:
        config: transformers' configuration of a Qwen2.5-VL or Qwen3-VL.
        prompt: P tokens.
        completion: L tokens.
        frames: images of the prompt, square.
        image_px: their side.
    """
    own_pairs = completion * prompt + completion * (completion + 1) / 2
    return PassWork(
        frames * vision_work(config.vision_config, image_px),
        language_work(config.text_config, prompt, prompt * (prompt + 1) / 2, scored=0),
        language_work(config.text_config, completion, own_pairs, scored=completion),
    )


def language_work(text: Any, tokens: int, pairs: float, scored: int) -> Work:
    """Tokens through the language model.

    Args:
        text: its configuration.
        tokens: how many.
        pairs: of a query and a key that the mask allows.
        scored: positions through the LM head.
    """
    head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    queries, keys = text.num_attention_heads * head_dim, text.num_key_value_heads * head_dim
    layer = text.hidden_size * (2 * queries + 2 * keys + 3 * text.intermediate_size)
    products = 2 * tokens * text.num_hidden_layers * layer + 2 * scored * text.hidden_size * text.vocab_size
    return Work(products, 4 * pairs * queries * text.num_hidden_layers)


def vision_work(vision: Any, image_px: int) -> Work:
    """One square frame through the vision tower, merger included."""
    side = image_px // vision.patch_size
    return frame_work(vision, side, side)


def frame_work(vision: Any, height: int, width: int) -> Work:
    """One frame of so many patches a side through the vision tower, merger included."""
    patches = height * width
    units = (height // vision.spatial_merge_size) * (width // vision.spatial_merge_size)
    wide, merged = vision.hidden_size, vision.hidden_size * vision.spatial_merge_size**2
    embed = 3 * vision.temporal_patch_size * vision.patch_size**2 * wide
    gated = 3 if hasattr(vision, "fullatt_block_indexes") else 2  # Qwen3-VL's MLP has no gate
    block = 4 * wide**2 + gated * wide * vision.intermediate_size
    mergers = 1 + len(getattr(vision, "deepstack_visual_indexes", ()))
    merger = mergers * (merged**2 + merged * vision.out_hidden_size)
    products = 2 * patches * (embed + vision.depth * block) + 2 * units * merger
    pairs = sum(_vision_pairs(vision, layer, height, width) for layer in range(vision.depth))
    return Work(products, 4 * wide * pairs)


def _vision_pairs(vision: Any, layer: int, height: int, width: int) -> int:
    """Pairs of patches of a frame that see each other: all of them, or those that share a window."""
    if layer in getattr(vision, "fullatt_block_indexes", range(vision.depth)):
        return (height * width) ** 2
    window = vision.window_size // vision.patch_size
    down, across = ([window] * (side // window) + [side % window] for side in (height, width))
    return sum(piece**2 for piece in down) * sum(piece**2 for piece in across)


def floor_work(work: PassWork, group_size: int, with_reference: bool) -> Mapping[str, Work]:
    """The floor of a step by phase; see the module's text."""
    shared, own = work.vision + work.prompt, group_size * work.completion
    phases = {"rollout": shared + own, "forward": own, "backward": 2 * shared + 2 * own}
    return phases | ({"ref": shared + own} if with_reference else {})


def dense_work(work: PassWork, group_size: int, with_reference: bool) -> Mapping[str, Work]:
    """The same step with the prompt in every row."""
    rows = group_size * work.row
    phases = {"rollout": rows, "forward": rows, "backward": 2 * rows}
    return phases | ({"ref": rows} if with_reference else {})


def total(phases: Mapping[str, Work]) -> Work:
    """The whole step.

    >>> total({"forward": Work(1.0, 2.0), "backward": Work(2.0, 4.0)})
    Work(products=3.0, attention=6.0)
    """
    return sum(phases.values(), Work(0.0, 0.0))
