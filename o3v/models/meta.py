"""A preset's model on torch's meta device: every shape, no memory and no weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from o3v.models.family import find_family
from o3v.models.load import ASSETS, ModelSpec
from o3v.models.published import Published, find_published


def meta_config(spec: ModelSpec, vocab_size: int) -> Any:
    """The transformers configuration of a preset: published sizes, else those on disk, else those in the preset.

    Args:
        spec: the preset.
        vocab_size: for sizes in the preset, which say nothing of the tokenizer.

    Raises:
        ConfigError: the preset has no sizes and no folder; names every place that was looked at.
    """
    from transformers import AutoConfig

    if spec.published is not None:
        return published_config(find_published(spec.published))
    places = [place for place in (Path(spec.root) / spec.path, ASSETS / spec.path) if (place / "config.json").is_file()]
    if places or spec.architecture is None:
        return AutoConfig.from_pretrained(places[0] if places else spec.find(), local_files_only=True)
    family = find_family(spec.family)
    return AutoConfig.for_model(
        spec.family,
        text_config=spec.architecture["text"] | {"vocab_size": vocab_size, "tie_word_embeddings": True},
        vision_config=spec.architecture["vision"] | {"patch_size": family.patch_px, "spatial_merge_size": family.merge},
        tie_word_embeddings=True,
    )


def published_config(found: Published) -> Any:
    """The transformers configuration of a published model, without its tokenizer's ids."""
    from transformers import AutoConfig

    return AutoConfig.for_model(
        found.model_type,
        text_config=dict(found.text) | {"tie_word_embeddings": found.tie_word_embeddings},
        vision_config=dict(found.vision),
        tie_word_embeddings=found.tie_word_embeddings,
    )


def meta_model(config: Any, dtype: str) -> Any:
    """The model of a configuration without memory.

    Args:
        config: of transformers.
        dtype: float32, bfloat16 or float16.
    """
    import torch
    from transformers import AutoModelForImageTextToText

    with torch.device("meta"):
        return AutoModelForImageTextToText.from_config(config, dtype=getattr(torch, dtype))
