"""Native video inputs: a tuple of frame indices is one video, with the clip's own times."""

from dataclasses import replace

import pytest
import torch

from o3v.models.logprobs import dense_scores, packed_scores
from tests import tiny

QUESTION = "When is the red circle seen, exactly, and where is the blue square then?"


def video_prompt(policy, frames=(0, 1, 2, 3), seed=2):
    return replace(tiny.clip_prompt(policy, 4, seed), parts=("Look: ", frames, QUESTION))


@pytest.fixture(scope="module")
def prompts(policy):
    """An image, a video, text alone, and a prompt with images and two videos."""
    video = video_prompt(policy)
    both = replace(video, parts=(0, (0, 1), "then", 3, (1, 2, 3), QUESTION))
    return [tiny.still_prompt(policy, 1), video, replace(video, parts=(QUESTION,)), both]


@pytest.fixture(scope="module")
def encoded(policy, prompts):
    return policy.encode(prompts)


def same(one, two):
    return all(
        torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
        for a, b in zip(vars(one).values(), vars(two).values(), strict=True)
    )


def test_counts_grids_and_tokens(policy, prompts, encoded):
    token = policy.processor.tokenizer.convert_tokens_to_ids
    assert encoded.images == (1, 0, 0, 2) and encoded.videos == (0, 1, 0, 2)
    assert encoded.video_grid_thw.tolist() == [[2, 6, 6], [1, 6, 6], [2, 6, 6]]  # two frames a step, odd ones padded
    assert len(encoded.pixel_values_videos) == int(encoded.video_grid_thw.prod(-1).sum())
    for name, kind in (("<|image_pad|>", 1), ("<|video_pad|>", 2)):
        assert torch.equal(encoded.mm_token_type_ids == kind, encoded.input_ids == token(name))


def test_times_are_the_clips(policy, prompts):
    """Seconds a step for Qwen2.5-VL, the mean time of both frames in the text for Qwen3-VL."""
    clip = replace(prompts[1].clip, times_s=(0.0, 0.7, 3.0, 4.5))
    prompt = replace(prompts[1], clip=clip, parts=((0, 1, 2, 3), "x"))
    encoded = policy.encode([prompt])
    text = policy.processor.tokenizer.decode(encoded.input_ids[0])
    frame = "<|vision_start|>" + "<|video_pad|>" * 9 + "<|vision_end|>"
    if policy.family.name == "qwen3_vl":
        assert f"user\n<0.3 seconds>{frame}<3.8 seconds>{frame}x<|im_end|>" in text
        assert encoded.second_per_grid_ts.tolist() == [1.0]
    else:
        assert text.count("<|video_pad|>") == 18 and text.count("<|vision_start|>") == 1
        assert encoded.second_per_grid_ts.tolist() == pytest.approx([2 * 4.5 / 3])


def test_a_video_of_one_frame(policy, prompts):
    encoded = policy.encode([replace(prompts[1], parts=((2,), "x"))])
    assert encoded.video_grid_thw.tolist() == [[1, 6, 6]]


def test_frames_are_neither_resized_nor_dropped(policy, prompts):
    clip = replace(prompts[1].clip, frames=prompts[1].clip.frames.repeat(10, 0), times_s=tuple(map(float, range(40))))
    encoded = policy.encode([replace(prompts[1], clip=clip, parts=(tuple(range(40)), "x"))])
    assert encoded.video_grid_thw.tolist() == [[20, 6, 6]]


@pytest.mark.parametrize("rows", [[0], [1], [2], [3], [3, 1], [2, 3, 0]])
def test_select_is_encoding_these_alone(policy, prompts, encoded, rows):
    picked, alone = encoded.select(rows), policy.encode([prompts[row] for row in rows])
    width = alone.input_ids.shape[1]
    cut = {name: getattr(picked, name)[:, -width:] for name in ("input_ids", "attention_mask", "mm_token_type_ids")}
    assert same(replace(picked, **cut), alone)


def test_repeat_and_to(encoded):
    assert same(encoded.repeat(2), encoded.select([0, 0, 1, 1, 2, 2, 3, 3]))
    assert encoded.repeat(2).videos == (0, 0, 1, 1, 0, 0, 2, 2)
    assert same(encoded.to("cpu"), encoded)


@pytest.mark.parametrize("way", [dense_scores, packed_scores])
def test_equal_to_the_librarys_own_forward(policy, prompts, encoded, way):
    """Every prompt alone with its completion, positions computed by the library."""
    ids, mask = tiny.ragged(policy, [5, 7, 3, 6])
    with torch.no_grad():
        found = way(policy, encoded, ids, mask).logprobs
    for row, prompt in enumerate(prompts):
        own = ids[row][mask[row]]
        assert torch.allclose(found[row][mask[row]], plain_forward(policy, prompt, own), atol=1e-5)
        assert not found[row][~mask[row]].any()


def plain_forward(policy, prompt, completion):
    inputs = policy.encode([prompt]).inputs()
    length = inputs["input_ids"].shape[1]
    inputs["input_ids"] = torch.cat([inputs["input_ids"], completion[None]], 1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    inputs["mm_token_type_ids"] = torch.nn.functional.pad(inputs["mm_token_type_ids"], (0, len(completion)))
    with torch.no_grad():
        logits = policy.model(**inputs).logits[0, length - 1 : -1]
    logits[:, list(policy.banned_ids)] = -torch.inf
    return logits.log_softmax(-1).gather(1, completion[:, None])[:, 0]


def test_swapped_videos_are_caught(policy, prompts, encoded):
    ids, mask = tiny.ragged(policy, [5, 7, 3, 6])
    swapped = replace(encoded, pixel_values_videos=encoded.pixel_values_videos.flip(0))
    with torch.no_grad():
        right, wrong = (dense_scores(policy, one, ids, mask).logprobs for one in (encoded, swapped))
    change = (right - wrong).abs()
    assert float(change[1].max()) > 0.05 and not change[[0, 2]].any()
