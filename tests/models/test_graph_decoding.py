"""Decoding over static buffers, kernel by kernel on any device, against the decoder that grows."""

import pytest
import torch

from o3v.errors import ConfigError
from o3v.models import graph_decoding
from o3v.models.decoding import Decoder
from o3v.models.graph_decoding import GraphDecoder
from o3v.models.prefix import read_prompts
from o3v.rollout import sampler
from o3v.rollout.draw import Sampling
from o3v.rollout.sampler import sample_completions
from tests import tiny

STEPS = 6


def sampling(decoder, length=20):
    return Sampling(group_size=2, temperature=1.0, top_p=1.0, top_k=0, max_new_tokens=length, decoder=decoder)


@pytest.fixture(scope="module")
def prefix(policy):
    with torch.no_grad():
        return read_prompts(policy, policy.encode(tiny.mixed_prompts(policy)))


def states(decoder, tokens):
    return torch.stack([decoder.advance(column).clone() for column in tokens.T])


@torch.no_grad()
@pytest.mark.parametrize("length", [STEPS, 40])
def test_equal_to_the_decoder_that_grows(policy, prefix, length):
    tokens, _ = tiny.ragged(policy, [STEPS] * 6)
    wanted = states(Decoder(policy, prefix, 2, length), tokens)
    found = states(GraphDecoder(policy, prefix, 2, length, is_captured=False), tokens)
    assert torch.allclose(found, wanted, atol=1e-5)


@torch.no_grad()
def test_a_bias_that_does_not_follow_the_step_is_caught(policy, prefix, monkeypatch):
    tokens, _ = tiny.ragged(policy, [STEPS] * 6)
    wanted = states(Decoder(policy, prefix, 2, STEPS), tokens)
    monkeypatch.setattr(graph_decoding.StaticPass, "begin", lambda self: None)
    found = states(GraphDecoder(policy, prefix, 2, STEPS, is_captured=False), tokens)
    assert float((found - wanted).abs().max()) > 0.05


def uncaptured(policy, prefix, drawing):
    return GraphDecoder(policy, prefix, drawing.group_size, drawing.max_new_tokens - 1, is_captured=False)


@pytest.mark.parametrize("length", [1, 20])
def test_the_rollout_is_the_same(policy, monkeypatch, length):
    """With an end token that comes early in some rows, so that some finish long before the others."""
    encoded = policy.encode(tiny.mixed_prompts(policy))
    seeds = list(range(6))
    never = sample_completions(policy, encoded, sampling("eager", length), seeds, eos_id=-1)
    end = int(never.ids[0, min(4, length - 1)])
    wanted = sample_completions(policy, encoded, sampling("eager", length), seeds, eos_id=end)
    monkeypatch.setattr(sampler, "_decoder", uncaptured)
    found = sample_completions(policy, encoded, sampling("eager", length), seeds, eos_id=end)
    assert torch.equal(found.ids, wanted.ids) and torch.equal(found.completion_mask, wanted.completion_mask)
    assert torch.allclose(found.logprobs, wanted.logprobs, atol=1e-5)
    assert found.texts == wanted.texts


def test_the_rollout_is_as_wide_as_its_longest_completion(policy, monkeypatch):
    """Although steps go on until it is looked whether anything is left."""
    encoded = policy.encode(tiny.mixed_prompts(policy)[:1])
    never = sample_completions(policy, encoded, sampling("eager"), [0, 0], eos_id=-1)
    monkeypatch.setattr(sampler, "_decoder", uncaptured)
    found = sample_completions(policy, encoded, sampling("eager"), [0, 0], eos_id=int(never.ids[0, 3]))
    assert found.ids.shape[1] == 1 + never.ids[0].tolist().index(int(never.ids[0, 3]))


def test_what_each_device_decodes_with():
    assert sampling("auto").decoder_on("cpu") == sampling("eager").decoder_on("cuda") == "eager"
    assert sampling("auto").decoder_on("cuda") == sampling("graph").decoder_on("cuda") == "graph"
    with pytest.raises(ConfigError, match=r"rollout\.decoder='graph' needs a GPU, not 'cpu'.*\['auto', 'eager'\]"):
        sampling("graph").decoder_on("cpu")
    with pytest.raises(ConfigError, match=r"rollout\.decoder='fast' must be one of"):
        sampling("fast")


def test_a_graph_on_a_cpu_is_refused(policy):
    with pytest.raises(ConfigError, match=r"rollout\.decoder"):
        sample_completions(policy, policy.encode(tiny.mixed_prompts(policy)), sampling("graph"), list(range(6)))
