"""The measured model and its prompt."""

import numpy as np
import pytest

from o3v.errors import ConfigError
from o3v.measure.model import frames_prompt, random_policy, random_tokenizer
from o3v.types import Clip, Prompt
from tests.measure.cases import case, tiny_case


@pytest.mark.parametrize("name", ["tiny_qwen2_5_vl", "tiny_qwen3_vl"])
@pytest.mark.parametrize("tokens", [40, 51, 60, 61, 62])
def test_a_prompt_has_exactly_as_many_tokens_as_asked(name, tokens):
    policy = random_policy(tiny_case(f"model={name}"))
    side = 3 * policy.family.factor
    prompt = frames_prompt(policy, tokens, side, seed=0)
    encoded = policy.encode([prompt])
    assert encoded.input_ids.shape == (1, tokens)
    seen = int((encoded.mm_token_type_ids == 1).sum())
    assert seen == 9 * len(prompt.clip.frames)
    assert _with_one_more(policy, prompt, side) > tokens


def _with_one_more(policy, prompt, side):
    """Tokens of the same prompt with a further frame and without its filling."""
    frames = len(prompt.clip.frames) + 1
    clip = Clip(np.zeros((frames, side, side, 3), np.uint8), (), 0.0, (side, side))
    more = Prompt("", tuple(range(frames)), clip, prompt.box_scale, None)
    return policy.encode([more]).input_ids.shape[1]


def test_the_measured_prompt_is_almost_all_frames():
    policy = random_policy(case())
    prompt = frames_prompt(policy, 1024, 224, seed=0)
    assert len(prompt.clip.frames) == 15
    assert policy.encode([prompt]).input_ids.shape == (1, 1024)


def test_a_prompt_without_room_for_a_frame_is_refused():
    with pytest.raises(ConfigError, match="prompt=12 is too short"):
        frames_prompt(random_policy(tiny_case()), 12, 84, seed=0)


def test_a_frame_that_the_family_cannot_read_is_refused():
    with pytest.raises(ConfigError, match="image_px=100 must be a multiple of 28"):
        frames_prompt(random_policy(tiny_case()), 60, 100, seed=0)


def test_the_vocabulary_has_exactly_the_size():
    assert len(random_tokenizer(600)) == 600
    with pytest.raises(ConfigError, match="vocab_size=90000 is not possible"):
        random_tokenizer(90_000)


def test_a_seed_gives_the_same_weights_and_frames():
    first, again, other = (random_policy(tiny_case(f"seed={seed}")) for seed in (0, 0, 1))
    weights = [policy.model.lm_head.weight for policy in (first, again, other)]
    assert (weights[0] == weights[1]).all()
    assert not (weights[0] == weights[2]).all()
    frames = [frames_prompt(first, 60, 84, seed).clip.frames for seed in (0, 0, 1)]
    assert (frames[0] == frames[1]).all()
    assert not (frames[0] == frames[2]).all()
