"""Sampling: the log-probabilities it reports, what decides a draw, and what can never be drawn."""

import copy
from dataclasses import replace

import pytest
import torch

from o3v.errors import ConfigError
from o3v.models.decoding import Decoder
from o3v.models.logprobs import dense_scores, kept_scores
from o3v.models.prefix import read_prompts
from o3v.rollout import sampler
from o3v.rollout.draw import draw_tokens
from o3v.rollout.sampler import Sampling, sample_completions, sample_from
from tests import tiny

FREE = Sampling(group_size=2, temperature=1.0, top_p=1.0, top_k=0, max_new_tokens=12, decoder="eager")
GREEDY = replace(FREE, group_size=1, temperature=0.0)


@pytest.fixture(scope="module")
def prompts(policy):
    return tiny.mixed_prompts(policy)


@pytest.fixture(scope="module")
def encoded(policy, prompts):
    return policy.encode(prompts)


@pytest.fixture
def biased(policy):
    """Sets what is added to the head's logits of some tokens, and takes it away after the test."""
    hooks = []

    def set_bias(ids, value):
        bias = torch.zeros(len(policy.processor.tokenizer))
        bias[list(ids)] = value
        hooks.append(policy.model.lm_head.register_forward_hook(lambda module, inputs, logits: logits + bias))

    yield set_bias
    for hook in hooks:
        hook.remove()


def error_of(policy, encoded, rollout, temperature=1.0):
    with torch.no_grad():
        dense = dense_scores(policy, encoded, rollout.ids, rollout.completion_mask, temperature).logprobs
    return float((dense - rollout.logprobs).abs().max())


@pytest.mark.bounds
@pytest.mark.parametrize("sampling", [FREE, replace(FREE, temperature=0.7, top_p=0.9, top_k=50), GREEDY])
def test_logprobs_are_those_of_the_training_forward(policy, encoded, sampling):
    rollout = sample_completions(policy, encoded, sampling, range(3 * sampling.group_size))
    assert rollout.ids.shape == rollout.completion_mask.shape == rollout.logprobs.shape
    assert len(rollout.texts) == len(rollout.ids) == 3 * sampling.group_size
    assert error_of(policy, encoded, rollout, sampling.scored_temperature) < 1e-5


def test_in_double_precision_nothing_but_the_heads_rounding_is_left(policy, encoded):
    double = replace(policy, model=copy.deepcopy(policy.model).double())
    exact = replace(encoded, pixel_values=encoded.pixel_values.double())
    assert error_of(double, exact, sample_completions(double, exact, FREE, range(6))) < 2e-6  # the head is float32


def test_wrong_positions_after_the_prompt_are_caught(policy, encoded, monkeypatch):
    def one_late(self, policy, prefix, *rest, right=Decoder.__init__):
        right(self, policy, replace(prefix, next_position=prefix.next_position + 1), *rest)

    monkeypatch.setattr(Decoder, "__init__", one_late)
    assert error_of(policy, encoded, sample_completions(policy, encoded, FREE, range(6))) > 0.01


def test_a_completion_does_not_depend_on_its_neighbours(policy, prompts, encoded):
    together = sample_completions(policy, encoded, FREE, [10, 11, 20, 21, 30, 31])
    for b, seeds in enumerate([(10, 11), (20, 21), (30, 31)]):
        alone = sample_completions(policy, policy.encode([prompts[b]]), FREE, seeds)
        assert alone.texts == together.texts[2 * b : 2 * b + 2]
        assert torch.equal(alone.ids[alone.completion_mask], rows_of(together, 2 * b, 2))


def rows_of(rollout, start, count):
    rows = slice(start, start + count)
    return rollout.ids[rows][rollout.completion_mask[rows]]


def test_seeds_decide_and_the_global_random_state_does_not(policy, encoded):
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    one = sample_completions(policy, encoded, FREE, range(6))
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(2)
    two = sample_completions(policy, encoded, FREE, range(6))
    other = sample_completions(policy, encoded, FREE, range(6, 12))
    assert one.texts == two.texts != other.texts
    assert len(set(one.texts)) == 6


def test_greedy_is_what_the_library_generates(policy, prompts, encoded):
    rollout = sample_completions(policy, encoded, GREEDY, [0, 0, 0])
    for b, prompt in enumerate(prompts):
        alone = policy.encode([prompt])
        generated = policy.model.generate(
            **alone.inputs(),
            max_new_tokens=12,
            do_sample=False,
            suppress_tokens=list(policy.banned_ids),
            pad_token_id=policy.pad_id,
        )[0, alone.input_ids.shape[1] :]
        assert rows_of(rollout, b, 1).tolist() == generated.tolist()


def test_keeping_one_token_is_greedy(policy, encoded):
    greedy = sample_completions(policy, encoded, GREEDY, [0] * 3)
    for narrowed in (replace(GREEDY, temperature=1.3, top_k=1), replace(GREEDY, temperature=1.0, top_p=1e-9)):
        assert sample_completions(policy, encoded, narrowed, [5, 6, 7]).texts == greedy.texts


def test_eos_ends_rows_and_counts(policy, encoded, biased):
    biased([policy.eos_id], 7.5)
    rollout = sample_completions(policy, encoded, replace(FREE, group_size=8), range(24))
    is_eos = rollout.ids == policy.eos_id
    lengths = rollout.completion_mask.sum(1)
    assert 1 <= int(lengths.min()) < int(lengths.max())
    for n, length in enumerate(lengths.tolist()):
        assert rollout.completion_mask[n].tolist() == [True] * length + [False] * (rollout.ids.shape[1] - length)
        assert not is_eos[n, : length - 1].any()
        assert is_eos[n, length - 1] or length == FREE.max_new_tokens
        assert (rollout.ids[n, length:] == policy.pad_id).all() and not rollout.logprobs[n, length:].any()


@pytest.mark.parametrize("shrink", [0.0, 1.0])
def test_rows_that_leave_change_nothing(policy, encoded, biased, monkeypatch, shrink):
    """Finished rows leave the batch never, or at once; lengths differ, so whole prompts empty too."""
    biased([policy.eos_id], 6.5)
    sampling = replace(FREE, group_size=3)
    expected = sample_completions(policy, encoded, sampling, range(9))
    kept = []
    right = Decoder.keep
    monkeypatch.setattr(Decoder, "keep", lambda self, rows: (kept.append(len(rows)), right(self, rows)))
    monkeypatch.setattr(sampler, "_SHRINK", shrink)
    found = sample_completions(policy, encoded, sampling, range(9))
    assert torch.equal(found.ids, expected.ids) and torch.equal(found.completion_mask, expected.completion_mask)
    assert torch.allclose(found.logprobs, expected.logprobs, atol=1e-5)
    assert bool(kept) == (shrink == 1.0)


def test_never_ending_completions(policy, encoded, biased):
    biased([policy.eos_id], 100.0)
    rollout = sample_completions(policy, encoded, FREE, range(6), eos_id=-1)
    assert rollout.completion_mask.all() and rollout.ids.shape == (6, 12)


def test_a_rollout_leaves_the_prompts_graph_whole(policy, encoded):
    """Prompts read with gradients can be sampled from and trained on afterwards."""
    prefix = read_prompts(policy, encoded)
    rollout = sample_from(policy, prefix, FREE, range(6))
    assert torch.equal(rollout.ids, sample_completions(policy, encoded, FREE, range(6)).ids)
    assert prefix.hidden.requires_grad and all(k.requires_grad for layer in prefix.keys for k in layer)
    scores = kept_scores(policy, prefix, rollout.ids, rollout.completion_mask)
    assert float((scores.logprobs - rollout.logprobs).abs().max()) < 1e-5


def test_all_rows_ended_stop_the_rollout(policy, encoded, biased):
    biased([policy.eos_id], 1000.0)
    rollout = sample_completions(policy, encoded, FREE, range(6))
    assert rollout.ids.tolist() == [[policy.eos_id]] * 6 and rollout.completion_mask.all()
    assert rollout.texts == ("",) * 6


def test_a_row_without_eos_counts_whole(policy, encoded, biased):
    biased([policy.eos_id], -1000.0)
    rollout = sample_completions(policy, encoded, FREE, range(6))
    assert rollout.completion_mask.all() and rollout.ids.shape[1] == FREE.max_new_tokens


@pytest.mark.parametrize("sampling", [FREE, GREEDY])
def test_banned_tokens_are_never_drawn_however_likely(policy, encoded, biased, sampling):
    biased(policy.banned_ids, 100.0)
    rollout = sample_completions(policy, encoded, sampling, range(3 * sampling.group_size))
    assert not set(rollout.ids[rollout.completion_mask].tolist()) & set(policy.banned_ids)
    assert torch.isfinite(rollout.logprobs).all()


# ---- the draw itself

LOGITS = torch.tensor([0.4, 0.3, 0.0, 0.2, 0.1]).log()


def frequencies(logits, sampling, draws=20_000):
    uniform = torch.rand(draws, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    tokens, _ = draw_tokens(logits.repeat(draws, 1), uniform, sampling)
    return torch.bincount(tokens, minlength=logits.shape[-1]) / draws


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [0.4, 0.3, 0.0, 0.2, 0.1]),
        ({"temperature": 0.5}, [16 / 30, 9 / 30, 0.0, 4 / 30, 1 / 30]),
        ({"top_k": 2}, [4 / 7, 3 / 7, 0.0, 0.0, 0.0]),
        ({"top_p": 0.75}, [4 / 9, 3 / 9, 0.0, 2 / 9, 0.0]),  # .4 + .3 do not reach .75, so the third stays
        ({"top_p": 0.65}, [4 / 7, 3 / 7, 0.0, 0.0, 0.0]),
        ({"top_p": 0.75, "top_k": 1}, [1.0, 0.0, 0.0, 0.0, 0.0]),
        ({"temperature": 0.5, "top_p": 0.8}, [16 / 25, 9 / 25, 0.0, 0.0, 0.0]),  # p counts after the temperature
        ({"top_k": 50}, [0.4, 0.3, 0.0, 0.2, 0.1]),
    ],
)
def test_frequencies_follow_the_distribution(changes, expected):
    found = frequencies(LOGITS, replace(FREE, **changes))
    expected = torch.tensor(expected)
    assert not found[expected == 0].any()
    kept = expected > 0
    chi_square = float(((found - expected)[kept] ** 2 / expected[kept]).sum() * 20_000)
    assert chi_square < 20  # 4 degrees of freedom: a right sampler exceeds it once in 2,000 seeds


def test_a_wrong_distribution_is_caught():
    found, expected = frequencies(LOGITS, replace(FREE, temperature=0.9)), LOGITS.exp()
    kept = expected > 0
    assert float(((found - expected)[kept] ** 2 / expected[kept]).sum() * 20_000) > 20


@pytest.mark.parametrize("uniform", [0.0, 1e-300, 0.5, 1 - 2**-53])
@pytest.mark.parametrize("changes", [{}, {"temperature": 3.0}, {"top_p": 0.5}, {"top_k": 3}])
def test_extreme_numbers_never_draw_what_has_no_probability(uniform, changes):
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(200, 40, generator=generator)
    logits[:, [0, 1, 17, 38, 39]] = -torch.inf
    drawn, logprobs = draw_tokens(
        logits.clone(), torch.full((200,), uniform, dtype=torch.float64), replace(FREE, **changes)
    )
    assert torch.isfinite(logprobs).all()
    assert torch.isfinite(logits.gather(1, drawn[:, None])).all()


@pytest.mark.parametrize(
    ("key", "value"),
    [("group_size", 0), ("temperature", -0.1), ("top_p", 0.0), ("top_p", 1.01), ("top_k", -1), ("max_new_tokens", 0)],
)
def test_values_out_of_range(key, value):
    with pytest.raises(ConfigError, match=f"rollout.{key}={value}"):
        replace(FREE, **{key: value})
