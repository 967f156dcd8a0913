"""A model's parameters by part, and what one token or patch leaves behind in a layer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from o3v.models.load import ModelSpec
from o3v.models.lora import adapter_parameters
from o3v.models.meta import meta_config, meta_model

NF4_BYTES = (4 + 8 / 64 + 32 / (64 * 256)) / 8
"""Bytes of a parameter in 4 bits with quantised scales (QLoRA, arXiv:2305.14314, section 3)."""


@dataclass(frozen=True)
class Sizes:
    """What a preset's model is.

    Attributes:
        text: transformers' configuration of the language model.
        vision: of the vision tower.
        total: parameters, tied weights once.
        vision_parameters: of the tower with its mergers.
        embeddings: of the input embeddings.
        head: of the head, 0 where it is the embeddings.
        adapters: of adapters, 0 without.
        quantised: parameters in 4 bits.
        layer: of one layer of the language model.
        rest: of what lies outside of the language model's layers and the tower's blocks.
        matrices: numbers of a weight -> how many weights have so many.
    """

    text: Any
    vision: Any
    total: int
    vision_parameters: int
    embeddings: int
    head: int
    adapters: int
    quantised: int
    layer: int
    rest: int
    matrices: Mapping[int, int]

    @property
    def largest(self) -> int:
        """Of the largest layer or embedding."""
        return max(self.layer, self.embeddings)

    @property
    def one(self) -> int:
        """Of the largest single weight."""
        return max(self.matrices)

    def small(self, most: int) -> int:
        """Together, of weights with at most so many numbers each."""
        return sum(size * count for size, count in self.matrices.items() if size <= most)

    @property
    def language_parameters(self) -> int:
        """Of the language model with its embeddings, without the head."""
        return self.total - self.vision_parameters - self.head

    def learned(self, train_vision: bool) -> int:
        """Parameters that learn: adapters, or everything but a frozen tower."""
        return self.adapters or self.total - (0 if train_vision else self.vision_parameters)


def read_sizes(spec: ModelSpec, vocab_size: int) -> Sizes:
    """Build a preset's model on the meta device and count.

    Args:
        spec: the preset.
        vocab_size: of presets that say nothing of it.
    """
    config = meta_config(spec, vocab_size)
    model = meta_model(config, spec.dtype)
    embeddings, head = model.get_input_embeddings().weight, model.lm_head.weight
    total, layers = _parameters(model), model.model.language_model.layers
    return Sizes(
        text=config.text_config,
        vision=config.vision_config,
        total=total,
        vision_parameters=_parameters(model.model.visual),
        embeddings=embeddings.numel(),
        head=0 if head is embeddings else head.numel(),
        adapters=adapter_parameters(model, spec.lora),
        quantised=_linear_parameters(model.model.language_model) if spec.quantization else 0,
        layer=_parameters(layers[0]),
        rest=total - _parameters(layers) - _parameters(model.model.visual.blocks),
        matrices=Counter(p.numel() for p in model.parameters()),
    )


def language_adapters(text: Any, rank: int, names: Sequence[str]) -> int:
    """Parameters of adapters on layers of the language model: rank (in + out) each."""
    wide, inner = text.hidden_size, text.intermediate_size
    head = getattr(text, "head_dim", None) or wide // text.num_attention_heads
    q, k = text.num_attention_heads * head, text.num_key_value_heads * head
    sums = {"q_proj": wide + q, "k_proj": wide + k, "v_proj": wide + k, "o_proj": q + wide}
    sums |= dict.fromkeys(("gate_proj", "up_proj", "down_proj"), wide + inner)
    return text.num_hidden_layers * rank * sum(sums[name] for name in names if name in sums)


def _parameters(module: Any) -> int:
    return sum(p.numel() for p in module.parameters())


def _linear_parameters(model: Any) -> int:
    import torch

    return sum(m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Linear))
