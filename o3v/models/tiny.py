"""Tiny models of the real classes: the families' own code at about a million parameters, with a small processor."""

from __future__ import annotations

from typing import Any

from o3v.models.family import Family


def build_config(family: Family, architecture: dict[str, Any], tokenizer: Any) -> Any:
    """A transformers configuration of the family in the given size, with the tokenizer's ids.

    Args:
        family: which family.
        architecture: `text` and `vision` dictionaries in the words of the family's configuration classes.
        tokenizer: a tokenizer with the families' special tokens.
    """
    from transformers import AutoConfig

    token = tokenizer.convert_tokens_to_ids
    text = architecture["text"] | {
        "vocab_size": len(tokenizer),
        "bos_token_id": None,
        "eos_token_id": token("<|im_end|>"),
        "pad_token_id": token("<|endoftext|>"),
    }
    vision = architecture["vision"] | {"patch_size": family.patch_px, "spatial_merge_size": family.merge}
    return AutoConfig.for_model(
        family.name,
        text_config=text,
        vision_config=vision,
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
        tie_word_embeddings=True,
    )


def build_model(config: Any, init_std: float, seed: int) -> Any:
    """A randomly initialised model of a configuration; the same seed gives the same weights."""
    import torch
    from transformers import AutoModelForImageTextToText

    for part in (config, config.text_config, config.vision_config):
        part.initializer_range = init_std
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoModelForImageTextToText.from_config(config, dtype=torch.float32)


def build_processor(family: Family, tokenizer: Any) -> Any:
    """The family's processor around a tokenizer, with the family's pixel statistics."""
    from transformers import (
        Qwen2_5_VLProcessor,
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
        Qwen3VLProcessor,
        Qwen3VLVideoProcessor,
    )

    size = {"shortest_edge": family.factor**2, "longest_edge": 1024 * family.factor**2}
    common: dict[str, Any] = {"patch_size": family.patch_px, "merge_size": family.merge, "size": size}
    template = tokenizer.chat_template
    videos: Any
    if family.name == "qwen2_5_vl":
        images, videos = Qwen2VLImageProcessor(**common), Qwen2VLVideoProcessor(**common)
        return Qwen2_5_VLProcessor(images, tokenizer, videos, chat_template=template)
    half: dict[str, Any] = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    images, videos = (
        Qwen2VLImageProcessor(**common, **half),
        Qwen3VLVideoProcessor(**common, cap_pixels_per_frame=False),
    )
    return Qwen3VLProcessor(images, tokenizer, videos, chat_template=template)
