"""A loaded model with its processor: prompts in, token tensors out. Nothing here samples or trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from o3v.models.family import Family
from o3v.types import BoxScale, Clip, Prompt

_TURN_TOKENS = ("<|im_start|>", "<|endoftext|>")
_VISION_TOKENS = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>", "<|vision_pad|>")


@dataclass(frozen=True)
class Encoded:
    """B tokenized prompts, left-padded to P tokens.

    Attributes:
        input_ids: [B, P] long.
        attention_mask: [B, P] long, 1 on prompt tokens, 0 on padding.
        mm_token_type_ids: [B, P], 0 text, 1 image, 2 video; without it Qwen2.5-VL silently loses M-RoPE.
        pixel_values: [patches of all images of all prompts, patch values].
        image_grid_thw: [images of all prompts, 3].
        images: images of each prompt, B integers.
        pixel_values_videos: [patches of all native videos of all prompts, patch values].
        video_grid_thw: [videos of all prompts, 3].
        second_per_grid_ts: [videos of all prompts] seconds between two steps of a video's first axis, from which
            Qwen2.5-VL takes temporal positions; ones for Qwen3-VL, which writes times into the text.
        videos: native videos of each prompt, B integers.
        agreed_passes: passes of the vision tower that every process of the run makes for its prompts; 0 where nothing
            was agreed.
    """

    input_ids: Tensor
    attention_mask: Tensor
    mm_token_type_ids: Tensor
    pixel_values: Tensor
    image_grid_thw: Tensor
    images: tuple[int, ...]
    pixel_values_videos: Tensor
    video_grid_thw: Tensor
    second_per_grid_ts: Tensor
    videos: tuple[int, ...]
    agreed_passes: int = 0

    @property
    def vision_passes(self) -> int:
        """Passes of the vision tower for these prompts' own media: one for images, one for native videos."""
        return bool(len(self.image_grid_thw)) + bool(len(self.video_grid_thw))

    @property
    def blank_passes(self) -> int:
        """Passes over a blank picture that are wanting to as many as agreed (`o3v.models.entry`)."""
        return max(0, self.agreed_passes - self.vision_passes)

    def media(self) -> dict[str, Tensor]:
        """Pixels and grids as keywords of the library's `forward`; a kind that no prompt has is left out."""
        images = {"pixel_values": self.pixel_values, "image_grid_thw": self.image_grid_thw}
        videos = {"pixel_values_videos": self.pixel_values_videos, "video_grid_thw": self.video_grid_thw}
        return (images if len(self.image_grid_thw) else {}) | (videos if len(self.video_grid_thw) else {})

    def inputs(self) -> dict[str, Tensor]:
        """Every keyword of the library's `forward` or `generate`, which then compute positions themselves."""
        times = {"second_per_grid_ts": self.second_per_grid_ts} if len(self.video_grid_thw) else {}
        tokens = {name: getattr(self, name) for name in ("input_ids", "attention_mask", "mm_token_type_ids")}
        return tokens | self.media() | times

    def to(self, device: torch.device | str) -> Encoded:
        """The same on another device."""
        moved: dict[str, Any] = {
            name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **moved)

    def select(self, rows: Sequence[int]) -> Encoded:
        """Some of the prompts, in the given order."""
        pixels, grids = _pick(rows, self.pixel_values, self.image_grid_thw, self.images)
        video_pixels, video_grids = _pick(rows, self.pixel_values_videos, self.video_grid_thw, self.videos)
        times = self.second_per_grid_ts.split(list(self.videos))
        return Encoded(
            self.input_ids[rows],
            self.attention_mask[rows],
            self.mm_token_type_ids[rows],
            pixels,
            grids,
            tuple(self.images[row] for row in rows),
            video_pixels,
            video_grids,
            torch.cat([times[row] for row in rows]),
            tuple(self.videos[row] for row in rows),
            self.agreed_passes,
        )

    def repeat(self, times: int) -> Encoded:
        """Every prompt `times` times in a row: the dense batch of a group."""
        return self if times == 1 else self.select([b for b in range(len(self.images)) for _ in range(times)])


def _pick(rows: Sequence[int], pixels: Tensor, grids: Tensor, counts: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Pixels and grids of some prompts, which have `counts` images (or videos) each."""
    grids_of = grids.split(list(counts))
    pixels_of = pixels.split([int(grid.prod(-1).sum()) for grid in grids_of])
    return torch.cat([pixels_of[row] for row in rows]), torch.cat([grids_of[row] for row in rows])


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
        return banned_ids(self.processor.tokenizer.get_vocab())

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


def banned_ids(vocabulary: Mapping[str, int]) -> tuple[int, ...]:
    """Ids of the tokens that a policy may never write, of those that a vocabulary has.

    >>> banned_ids({"a": 0, "<|video_pad|>": 1, "<|im_start|>": 2, "<|im_end|>": 3})
    (1, 2)
    """
    return tuple(vocabulary[token] for token in (*_VISION_TOKENS, *_TURN_TOKENS) if token in vocabulary)


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
    resize again and the boxes' frame of reference is certain. It does not choose frames either.
    """
    texts = [_template(processor, prompt) for prompt in prompts]
    images = [_pixels(p.clip.frames[part]) for p in prompts for part in p.parts if isinstance(part, int)]
    videos = [(p.clip, part) for p in prompts for part in p.parts if isinstance(part, tuple)]
    arguments: dict[str, Any] = {"text": texts, "padding": True, "return_tensors": "pt", "do_resize": False}
    if images:
        arguments["images"] = images
    if videos:
        arguments["videos"] = [_pixels(clip.frames[list(part)]) for clip, part in videos]
        arguments["video_metadata"] = [_metadata(clip, part) for clip, part in videos]
        arguments["do_sample_frames"] = False
    batch = processor(**arguments)
    pixel_values, image_grid = _media_of(batch, "pixel_values", "image_grid_thw", processor.image_processor)
    video_values, video_grid = _media_of(batch, "pixel_values_videos", "video_grid_thw", processor.video_processor)
    return Encoded(
        batch["input_ids"],
        batch["attention_mask"],
        batch["mm_token_type_ids"],
        pixel_values,
        image_grid,
        tuple(sum(isinstance(part, int) for part in p.parts) for p in prompts),
        video_values,
        video_grid,
        torch.as_tensor(batch.get("second_per_grid_ts", torch.ones(len(video_grid))), dtype=torch.float32),
        tuple(sum(isinstance(part, tuple) for part in p.parts) for p in prompts),
    )


def _template(processor: Any, prompt: Prompt) -> str:
    """The prompt's chat text with a placeholder for each image and video.

    Qwen3-VL's processor puts the vision tags around every pair of a video's frames, each after its time. The tags
    that the template has put around the whole video are taken away, or they would stand twice.
    """
    content = [{"type": _kind(p)} | ({"text": p} if isinstance(p, str) else {}) for p in prompt.parts]
    system = [{"role": "system", "content": [{"type": "text", "text": prompt.system}]}] if prompt.system else []
    messages = [*system, {"role": "user", "content": content}]
    text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    if type(processor).__name__ == "Qwen3VLProcessor":
        text = text.replace("<|vision_start|><|video_pad|><|vision_end|>", "<|video_pad|>")
    return text


def _kind(part: str | int | tuple[int, ...]) -> str:
    return "text" if isinstance(part, str) else "image" if isinstance(part, int) else "video"


def _pixels(frames: Any) -> Tensor:
    """[..., H, W, 3] to [..., 3, H, W]."""
    return torch.tensor(frames).movedim(-1, -3)


def _metadata(clip: Clip, frames: Sequence[int]) -> dict[str, Any]:
    """What the processor derives times from, so that they are the clip's own to the millisecond.

    A frame's index over the rate is its time; the rate is a thousand and the index the time in milliseconds. The
    length is such that frames a second are one over the mean distance of the frames; a single frame stands for 1 s.
    """
    times_ms = [round(1000 * clip.times_s[k]) if clip.times_s else 0 for k in frames]
    gap_ms = (times_ms[-1] - times_ms[0]) / (len(frames) - 1) if len(frames) > 1 else 1000
    return {"fps": 1000, "frames_indices": times_ms, "total_num_frames": round(len(frames) * gap_ms)}


def _media_of(batch: Any, pixels: str, grid: str, processor: Any) -> tuple[Tensor, Tensor]:
    """Pixels and grids of a processor's batch, without rows where there are none."""
    if pixels in batch:
        return batch[pixels], batch[grid]
    values = 3 * processor.temporal_patch_size * processor.patch_size**2
    return torch.zeros(0, values), torch.zeros(0, 3, dtype=torch.long)
