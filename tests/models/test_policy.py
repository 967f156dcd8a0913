"""Prompts in, tensors out: image tokens, pixels, order of frames, chat text."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from o3v.models.policy import pad_right
from o3v.types import Clip
from tests import tiny


@pytest.fixture(scope="module")
def prompts(policy):
    return tiny.mixed_prompts(policy)


@pytest.fixture(scope="module")
def encoded(policy, prompts):
    return policy.encode(prompts)


def test_one_image_token_for_four_patches(policy, prompts, encoded):
    image = policy.processor.tokenizer.convert_tokens_to_ids("<|image_pad|>")
    counts = (encoded.input_ids == image).sum(1).tolist()
    tokens_a_frame = (prompts[0].clip.size_px[0] // policy.family.factor) ** 2
    assert counts == [tokens_a_frame * frames for frames in (1, 4, 2)]
    assert int(encoded.image_grid_thw.prod(-1).sum()) // 4 == sum(counts)
    assert encoded.images == (1, 4, 2)
    assert torch.equal(encoded.mm_token_type_ids.bool(), encoded.input_ids == image)


def test_frames_are_not_resized_again(policy, prompts, encoded):
    width, height = prompts[0].clip.size_px
    patch = policy.family.patch_px
    assert encoded.image_grid_thw.tolist() == [[1, height // patch, width // patch]] * 7
    assert len(encoded.pixel_values) == int(encoded.image_grid_thw.prod(-1).sum())


@pytest.mark.parametrize("size", [(2, 3), (5, 1), (1, 12)])
def test_sizes_that_a_resize_would_change(policy, prompts, size):
    """Small and long frames are below and beyond what the processor itself would make of them."""
    height, width = (side * policy.family.factor for side in size)
    clip = Clip(np.zeros((1, height, width, 3), np.uint8), (), 0.0, (width, height))
    grid = policy.encode([replace(prompts[0], clip=clip, parts=(0, "?"))]).image_grid_thw
    assert grid.tolist() == [[1, 2 * size[0], 2 * size[1]]]


def test_frames_keep_their_order_and_colours(policy):
    """The mean of each frame's patches is its own grey level, in the order in which the parts name the frames."""
    side = 3 * policy.family.factor
    levels = (10, 90, 170, 250)
    frames = np.stack([np.full((side, side, 3), level, np.uint8) for level in levels])
    prompt = replace(
        tiny.clip_prompt(policy, 4),
        clip=Clip(frames, (0.0, 1.0, 2.0, 3.0), 4.0, (side, side)),
        parts=(2, "a", 0, 3, 1, "b"),
    )
    encoded = policy.encode([prompt])
    processor = policy.processor.image_processor
    mean, std = (torch.tensor(v).mean() for v in (processor.image_mean, processor.image_std))
    found = torch.stack([part.mean() for part in encoded.pixel_values.split(encoded.image_grid_thw.prod(-1).tolist())])
    expected = torch.tensor([levels[k] / 255 for k in (2, 0, 3, 1)])
    assert torch.allclose(found * std + mean, expected, atol=0.02)


def test_chat_text(policy, prompts):
    text = policy.processor.tokenizer.decode(policy.encode([prompts[2]]).input_ids[0])
    frame = "<|vision_start|>" + "<|image_pad|>" * 9 + "<|vision_end|>"
    assert text == (
        f"<|im_start|>system\n{prompts[2].system}<|im_end|>\n<|im_start|>user\nFrame 1 at 0.0s: {frame}\n"
        f"Frame 2 at 1.0s: {frame}\nThe video is in total 4.0 seconds.\n{prompts[2].parts[-1]}<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_no_system_turn_without_system_text(policy, prompts):
    text = policy.processor.tokenizer.decode(policy.encode([replace(prompts[0], system="")]).input_ids[0])
    assert text.startswith("<|im_start|>user\n")


def test_select_and_repeat_take_pixels_along(policy, prompts, encoded):
    picked = encoded.select([2, 0])
    alone = policy.encode([prompts[2], prompts[0]])
    assert torch.equal(picked.pixel_values, alone.pixel_values)
    assert torch.equal(picked.image_grid_thw, alone.image_grid_thw)
    assert picked.images == (2, 1)
    assert torch.equal(encoded.repeat(2).input_ids, encoded.input_ids.repeat_interleave(2, 0))
    assert encoded.repeat(2).images == (1, 1, 4, 4, 2, 2)
    assert len(encoded.repeat(2).pixel_values) == 2 * len(encoded.pixel_values)


def test_targets_end_with_eos(policy):
    ids, mask = policy.encode_targets(["<think>a</think>", "b"])
    assert ids[mask].tolist().count(policy.eos_id) == 2
    assert [int(ids[n][mask[n]][-1]) for n in range(2)] == [policy.eos_id] * 2
    assert policy.decode(ids) == ["<think>a</think>", "b"]


def test_a_target_cannot_smuggle_special_tokens_in(policy):
    ids, mask = policy.encode_targets(["see <|image_pad|> and <|im_end|> here"])
    assert not set(ids[mask].tolist()) & set(policy.banned_ids)
    assert ids[mask].tolist().count(policy.eos_id) == 1
    assert policy.decode(ids) == ["see <|image_pad|> and <|im_end|> here"]


def test_vision_and_turn_tokens_are_banned_and_eos_is_not(policy):
    token = policy.processor.tokenizer.convert_tokens_to_ids
    for name in (
        "<|vision_start|>",
        "<|vision_end|>",
        "<|image_pad|>",
        "<|video_pad|>",
        "<|im_start|>",
        "<|endoftext|>",
    ):
        assert token(name) in policy.banned_ids
    assert policy.eos_id not in policy.banned_ids


def test_pad_right_of_nothing_but_empty_rows():
    ids, mask = pad_right([[], [4]], 9)
    assert ids.tolist() == [[9], [4]] and mask.tolist() == [[False], [True]]


def test_box_units_of_the_families(policy):
    scale = policy.box_scale((84, 56))
    assert (scale.width, scale.height) == ((1000, 1000) if policy.family.norm1000 else (84, 56))
