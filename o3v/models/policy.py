"""A loaded model with its processor: prompts in, token tensors out. Nothing here samples or trains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from o3v.models.family import Family
from o3v.types import BoxScale, Prompt

_VISION_TOKENS = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>", "<|vision_pad|>")


@dataclass(frozen=True)
class Encoded:
    """B tokenized prompts, left-padded to P tokens.

    Attributes:
        input_ids: [B, P] long.
        attention_mask: [B, P] long, 1 on prompt tokens, 0 on padding.
        mm_token_type_ids: [B, P], 0 text, 1 image; without it Qwen2.5-VL silently loses M-RoPE.
        pixel_values: [patches of all prompts, patch values].
        image_grid_thw: [images of all prompts, 3].
        images: images of each prompt, B integers.
    """

    input_ids: Tensor
    attention_mask: Tensor
    mm_token_type_ids: Tensor
    pixel_values: Tensor
    image_grid_thw: Tensor
    images: tuple[int, ...]

    def to(self, device: torch.device | str) -> Encoded:
        """The same on another device."""
        return Encoded(
            self.input_ids.to(device),
            self.attention_mask.to(device),
            self.mm_token_type_ids.to(device),
            self.pixel_values.to(device),
            self.image_grid_thw.to(device),
            self.images,
        )

    def select(self, rows: Sequence[int]) -> Encoded:
        """Some of the prompts, in the given order."""
        patches = self.image_grid_thw.prod(-1).split(list(self.images))
        pixels = self.pixel_values.split([int(p.sum()) for p in patches])
        grids = self.image_grid_thw.split(list(self.images))
        return Encoded(
            self.input_ids[rows],
            self.attention_mask[rows],
            self.mm_token_type_ids[rows],
            torch.cat([pixels[row] for row in rows]),
            torch.cat([grids[row] for row in rows]),
            tuple(self.images[row] for row in rows),
        )

    def repeat(self, times: int) -> Encoded:
        """Every prompt `times` times in a row: the dense batch of a group."""
        return self if times == 1 else self.select([b for b in range(len(self.images)) for _ in range(times)])


@dataclass(frozen=True)
class Policy:
    """A vision-language model as this project uses it.

    Attributes:
        model: `Qwen2_5_VLForConditionalGeneration` or `Qwen3VLForConditionalGeneration`.
        processor: its processor.
        family: the family's conventions.
    """

    model: Any
    processor: Any
    family: Family

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.get_input_embeddings().weight.device

    @property
    def eos_id(self) -> int:
        """`<|im_end|>`, which ends the assistant's turn."""
        return self.processor.tokenizer.convert_tokens_to_ids("<|im_end|>")

    @property
    def pad_id(self) -> int:
        """Token that fills rows; never attended to."""
        return self.processor.tokenizer.pad_token_id

    @property
    def banned_ids(self) -> tuple[int, ...]:
        """Tokens that a policy may never write: a sampled vision token would ask for pixels that do not exist."""
        vocabulary = self.processor.tokenizer.get_vocab()
        turn = ("<|im_start|>", "<|endoftext|>")
        return tuple(vocabulary[t] for t in (*_VISION_TOKENS, *turn) if t in vocabulary)

    def box_scale(self, size_px: tuple[int, int]) -> BoxScale:
        """Units of the boxes that this model writes on frames of (width, height)."""
        return self.family.box_scale(size_px)

    def encode(self, prompts: Sequence[Prompt]) -> Encoded:
        """Tokenize prompts up to and including the opening of the assistant's turn."""
        return encode_prompts(self.processor, prompts)

    def encode_targets(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Tokenize assistant turns for teacher forcing.

        Returns:
            ids [N, L] long, right-padded, each ending with EOS, and their mask [N, L] bool.
        """
        tokenizer = self.processor.tokenizer
        plain = {"add_special_tokens": False, "split_special_tokens": True}  # "<|im_end|>" in a text stays text
        rows = [tokenizer(text, **plain)["input_ids"] + [self.eos_id] for text in texts]
        return pad_right(rows, self.pad_id)

    def decode(self, ids: Tensor) -> list[str]:
        """Texts of token rows, special tokens left out."""
        return self.processor.tokenizer.batch_decode(ids.tolist(), skip_special_tokens=True)


def pad_right(rows: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """Token rows of different length -> ids [N, L] and mask [N, L], True on tokens.

    >>> pad_right([[5, 6], [7]], pad_id=0)[0].tolist()
    [[5, 6], [7, 0]]
    """
    width = max(len(row) for row in rows)
    ids = torch.tensor([[*row, *[pad_id] * (width - len(row))] for row in rows])
    lengths = torch.tensor([len(row) for row in rows])
    return ids, torch.arange(width)[None] < lengths[:, None]


def encode_prompts(processor: Any, prompts: Sequence[Prompt]) -> Encoded:
    """Chat template, placeholders and pixels, by the family's own processor.

    Frames go in as they are: they were resized to the family's factor when they were read, so the processor does not
    resize again and the boxes' frame of reference is certain.
    """
    texts = [processor.apply_chat_template(_messages(p), tokenize=False, add_generation_prompt=True) for p in prompts]
    images = [torch.tensor(frame).permute(2, 0, 1) for p in prompts for frame in _frames_in_order(p)]
    batch = processor(text=texts, images=images, padding=True, return_tensors="pt", do_resize=False)
    return Encoded(
        batch["input_ids"],
        batch["attention_mask"],
        batch["mm_token_type_ids"],
        batch["pixel_values"],
        batch["image_grid_thw"],
        tuple(sum(isinstance(part, int) for part in p.parts) for p in prompts),
    )


def _messages(prompt: Prompt) -> list[dict[str, Any]]:
    content = [{"type": "image"} if isinstance(p, int) else {"type": "text", "text": p} for p in prompt.parts]
    system = [{"role": "system", "content": [{"type": "text", "text": prompt.system}]}] if prompt.system else []
    return [*system, {"role": "user", "content": content}]


def _frames_in_order(prompt: Prompt) -> list[Any]:
    return [prompt.clip.frames[part] for part in prompt.parts if isinstance(part, int)]
