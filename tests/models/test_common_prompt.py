"""Questions about one clip: read once, with the numbers of reading each alone."""

from dataclasses import replace

import pytest
import torch

from o3v.models.common_prompt import common_tokens, read_together
from o3v.models.prefix import read_prompts
from o3v.rollout.draw import Sampling
from o3v.rollout.sampler import sample_completions, sample_from
from tests import tiny

QUESTIONS = ["When is it seen?", "Where is the red circle, and when does it come into the picture?", "What is it?"]


@pytest.fixture(scope="module")
def prompts(policy):
    """Three questions about one clip, one about another, one about a still image."""
    first = tiny.clip_prompt(policy, 3, 1)
    asked = [replace(first, parts=(*first.parts[:-1], question)) for question in QUESTIONS]
    return [asked[0], tiny.clip_prompt(policy, 2, 2), asked[1], tiny.still_prompt(policy, 3), asked[2]]


def read(policy, prompts):
    with torch.no_grad():
        return read_together(policy, policy.encode(prompts), [id(prompt.clip) for prompt in prompts])


def test_the_numbers_are_those_of_each_alone(policy, prompts):
    found = read(policy, prompts)
    with torch.no_grad():
        wanted = read_prompts(policy, policy.encode(prompts))
    assert torch.allclose(found.hidden, wanted.hidden, atol=1e-5)
    assert torch.equal(found.next_position, wanted.next_position)
    for one, other in ((found.keys, wanted.keys), (found.values, wanted.values)):
        for layer, expected in zip(one, other, strict=True):
            assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(layer, expected, strict=True))


def test_answers_are_the_same(policy, prompts):
    sampling = Sampling(2, 1.0, 1.0, 0, 8, "eager")
    together = sample_from(policy, read(policy, prompts), sampling, range(10))
    assert together.texts == sample_completions(policy, policy.encode(prompts), sampling, range(10)).texts


def test_one_clip_passes_the_vision_tower_once(policy, prompts):
    patches = []
    hook = policy.model.model.visual.register_forward_pre_hook(lambda _, inputs: patches.append(len(inputs[0])))
    read(policy, [prompts[0], prompts[2], prompts[4]])
    hook.remove()
    assert patches == [len(policy.encode([prompts[0]]).pixel_values)]


def test_what_can_be_shared(policy, prompts):
    same = policy.encode([prompts[0], prompts[2]])
    assert common_tokens(same) > int(same.mm_token_type_ids[0].sum())
    assert common_tokens(policy.encode([prompts[0]])) == 0
    equal = policy.encode([prompts[0], prompts[0]])
    assert common_tokens(equal) == int(equal.attention_mask[0].sum()) - 1  # one is left to predict from
    other_system = replace(prompts[2], system="Another system text.")
    assert common_tokens(policy.encode([prompts[0], other_system])) == 0  # the frames come after the difference


def test_prompts_that_share_nothing_are_one_pass(policy, prompts):
    passes = []
    layer = policy.model.model.language_model.layers[0]
    hook = layer.mlp.register_forward_pre_hook(lambda _, inputs: passes.append(inputs[0].shape[1]))
    read(policy, [prompts[0], prompts[1], prompts[3]])
    hook.remove()
    assert len(passes) == 1
