"""The head: chunks, kept probabilities, precision, entropy, tokens that may not be written."""

from dataclasses import replace

import pytest
import torch

from o3v.models import head
from o3v.models.head import score_tokens


@pytest.fixture(scope="module")
def case(policy):
    """Five of six tokens of two rows, with the states that predict them."""
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(5, policy.model.config.text_config.hidden_size, generator=generator)
    mask = torch.tensor([[True, True, True], [True, True, False]])
    return states, torch.randint(40, 200, (2, 3), generator=generator), mask


def plain(policy, states, temperature=1.0):
    """The whole distribution [T, V] by the library's own functions."""
    logits = (states @ policy.model.lm_head.weight.T).double() / temperature
    logits[:, list(policy.banned_ids)] = -torch.inf
    return logits.log_softmax(-1)


def gradients(policy, states, ids, mask):
    policy.model.zero_grad()
    leaf = states.clone().requires_grad_()
    scores = score_tokens(policy, leaf, ids, mask)
    (scores.logprobs * torch.arange(6.0).reshape(2, 3)).sum().backward()
    return leaf.grad, policy.model.lm_head.weight.grad.clone(), scores


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_logprobs_and_entropy_of_the_whole_distribution(policy, case, temperature):
    states, ids, mask = case
    with torch.no_grad():
        found = score_tokens(policy, states, ids, mask, temperature)
        expected = plain(policy, states, temperature)
    assert torch.allclose(found.logprobs[mask].double(), expected.gather(1, ids[mask][:, None])[:, 0], atol=1e-5)
    entropy = -(expected.exp() * expected.clamp(min=-1e9)).sum(-1)
    assert torch.allclose(found.entropy[mask].double(), entropy, atol=1e-5)
    assert not found.logprobs[~mask].any() and not found.entropy[~mask].any()


def test_banned_tokens_have_no_probability(policy):
    state = torch.randn(1, policy.model.config.text_config.hidden_size)
    everything = torch.arange(len(policy.processor.tokenizer))[:, None]
    with torch.no_grad():
        found = score_tokens(policy, state.expand(len(everything), -1), everything, torch.ones_like(everything).bool())
    assert (found.logprobs[list(policy.banned_ids)] == -torch.inf).all()
    assert float(found.logprobs.exp().sum()) == pytest.approx(1.0, abs=1e-5)
    assert torch.isfinite(found.entropy).all()


@pytest.mark.parametrize("chunk", [1, 3, 1000])
@pytest.mark.parametrize("kept", [0, 2**25])
def test_gradients_are_those_of_the_plain_log_softmax(fresh_policy, case, chunk, kept, monkeypatch):
    states, ids, mask = case
    vocabulary = len(fresh_policy.model.lm_head.weight)
    monkeypatch.setattr(head, "_CHUNK_LOGITS", {"cpu": chunk * vocabulary})
    monkeypatch.setattr(head, "_KEPT_LOGITS", kept)
    d_states, d_weight, _ = gradients(fresh_policy, states, ids, mask)
    fresh_policy.model.zero_grad()
    leaf = states.clone().requires_grad_()
    chosen = plain(fresh_policy, leaf).gather(1, ids[mask][:, None])[:, 0]
    (chosen * torch.arange(6.0).reshape(2, 3)[mask]).sum().backward()
    assert torch.allclose(d_states, leaf.grad, atol=1e-5)
    assert torch.allclose(d_weight, fresh_policy.model.lm_head.weight.grad, atol=1e-5)


def test_a_second_backward_pass_over_kept_probabilities_is_the_same(fresh_policy, case):
    states, ids, mask = case
    leaf = states.clone().requires_grad_()
    loss = score_tokens(fresh_policy, leaf, ids, mask).logprobs.sum()
    first = torch.autograd.grad(loss, leaf, retain_graph=True)[0]
    assert torch.equal(first, torch.autograd.grad(loss, leaf)[0])


def test_a_frozen_head_gets_no_gradient(fresh_policy, case):
    fresh_policy.model.lm_head.requires_grad_(False)
    leaf = case[0].clone().requires_grad_()
    score_tokens(fresh_policy, leaf, *case[1:]).logprobs.sum().backward()
    assert fresh_policy.model.lm_head.weight.grad is None and leaf.grad.abs().sum() > 0


def test_half_precision_weights_give_a_float32_log_softmax(fresh_policy, case):
    half = replace(fresh_policy, model=fresh_policy.model.bfloat16())
    states = case[0].bfloat16().requires_grad_()
    found = score_tokens(half, states, *case[1:])
    with torch.no_grad():
        expected = plain(half, states).gather(1, case[1][case[2]][:, None])[:, 0]
    assert found.logprobs.dtype == found.entropy.dtype == torch.float32
    assert torch.allclose(found.logprobs[case[2]].double(), expected, atol=1e-4)
    found.logprobs.sum().backward()
    assert states.grad.dtype == half.model.lm_head.weight.grad.dtype == torch.bfloat16


def test_nothing_to_score(policy, case):
    none = torch.zeros(2, 3, dtype=torch.bool)
    found = score_tokens(policy, case[0][:0], case[1], none)
    assert found.logprobs.tolist() == found.entropy.tolist() == [[0.0] * 3] * 2
