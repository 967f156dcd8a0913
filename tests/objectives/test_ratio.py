"""Ratios off the policy: clip sides and signs, sequence against token, the stopped gradients of GSPO-token."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from o3v.objectives import policy, ratio
from o3v.objectives.ratio import RATIO_LEVELS, importance_ratio, sequence_log_ratio, token_log_ratio
from tests.objectives.made import LEVELS, gradient, objective, random_case

MASK = torch.ones(1, 2, dtype=torch.bool)
NEW = torch.tensor([[-1.0, -1.0]])


def stale(shifts, gain, level):
    """One completion of two tokens whose log ratios are `shifts`: its metrics, and the gradient it is left with."""
    made = objective(ratio_level=level, kl_coef=0.0)
    old, gains = NEW - torch.tensor([shifts]), torch.tensor([gain])
    metrics = made.loss(NEW, old, None, gains, MASK).metrics
    return {k: float(v) for k, v in metrics.items()}, gradient(made, NEW, old, None, gains, MASK)[0].tolist()


# log ratios of the two tokens, advantage -> clip fractions (low, high) of GSPO and of GRPO; clip range 0.8 to 1.2
TABLE = [
    ((0.0, 0.0), 1.0, (0.0, 0.0), (0.0, 0.0)),
    ((0.15, 0.15), 1.0, (0.0, 0.0), (0.0, 0.0)),
    ((0.5, 0.5), 1.0, (0.0, 1.0), (0.0, 1.0)),
    ((0.5, 0.5), -1.0, (0.0, 0.0), (0.0, 0.0)),
    ((-0.5, -0.5), 1.0, (0.0, 0.0), (0.0, 0.0)),
    ((-0.5, -0.5), -1.0, (1.0, 0.0), (1.0, 0.0)),
    ((0.5, -0.4), 1.0, (0.0, 0.0), (0.0, 0.5)),  # the tokens make up for each other
    ((0.4, -0.5), -1.0, (0.0, 0.0), (0.5, 0.0)),
    ((0.5, 0.0), 1.0, (0.0, 1.0), (0.0, 0.5)),  # one token takes the other along
    ((-0.5, 0.0), -1.0, (1.0, 0.0), (0.5, 0.0)),
]


@pytest.mark.parametrize(("shifts", "gain", "gspo", "grpo"), TABLE)
def test_what_is_clipped_off_the_policy(shifts, gain, gspo, grpo):
    for name, (low, high) in (("gspo", gspo), ("gspo_token", gspo), ("grpo", grpo)):
        metrics, slope = stale(shifts, gain, LEVELS[name])
        assert (metrics["clip_frac_low"], metrics["clip_frac_high"]) == (low, high), name
        assert metrics["clip_frac"] == low + high
        assert sum(value == 0.0 for value in slope) == round(2 * (low + high)), name


@pytest.mark.parametrize(("shifts", "gain", "gspo", "grpo"), [row for row in TABLE if row[2] != row[3]])
def test_gspo_and_grpo_differ_off_the_policy(shifts, gain, gspo, grpo):
    assert gspo != grpo
    assert stale(shifts, gain, "sequence")[1] != pytest.approx(stale(shifts, gain, "token")[1], rel=1e-2)


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_the_clip_fraction_moves_with_staleness(side):
    """The sampler drifts away; from a shift of 0.2 nats up GSPO clips what the advantage still pushes further."""
    shares = [stale((side * d, side * d), side, "sequence")[0]["clip_frac"] for d in (0.0, 0.1, 0.3, 0.6)]
    assert shares == [0.0, 0.0, 1.0, 1.0]


def test_ratios_by_hand():
    mask = torch.tensor([[True, True, False]])
    new, old = torch.tensor([[-1.0, -2.0, 5.0]]), torch.tensor([[-1.4, -1.8, -5.0]])
    torch.testing.assert_close(importance_ratio(new, old, mask, "sequence").log(), torch.tensor([[0.1]]))
    torch.testing.assert_close(importance_ratio(new, old, mask, "token").log(), torch.tensor([[0.4, -0.2, 0.0]]))
    token = importance_ratio(new, old, mask, "sequence_token").log()
    torch.testing.assert_close(token, torch.tensor([[0.1, 0.1, 0.1]]))
    with pytest.raises(ValueError, match="word"):
        importance_ratio(new, old, mask, "word")


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.sampled_from(RATIO_LEVELS))
def test_ratios_are_positive_and_1_on_the_policy(seed, level):
    new, old, _, _, mask = random_case(seed)
    assert (importance_ratio(new, old, mask, level) > 0).all()
    assert (importance_ratio(new, new, mask, level) == 1).all()


def token_slopes():
    """D s_it / d log pi_t, which is s_i for its own token and 0 for the others."""
    new = torch.tensor([[-1.0, -2.0]], requires_grad=True)
    old = torch.tensor([[-1.4, -1.8]])
    values = importance_ratio(new, old, MASK, "sequence_token")
    return torch.stack([torch.autograd.grad(values[0, t], new, retain_graph=True)[0][0] for t in range(2)]), values


def test_gspo_token_has_the_gradient_of_its_own_token():
    slopes, values = token_slopes()
    torch.testing.assert_close(slopes, torch.diag(values[0].detach()))


def without_stop(logprobs, old, mask, level):
    sequence = torch.exp(sequence_log_ratio(logprobs, old, mask)).unsqueeze(-1)
    return sequence * torch.exp(token_log_ratio(logprobs, logprobs, mask))


def all_stopped(logprobs, old, mask, level):
    return torch.exp(sequence_log_ratio(logprobs, old, mask)).unsqueeze(-1).detach() * (logprobs / logprobs)


def plain_token(logprobs, old, mask, level):
    return torch.exp(token_log_ratio(logprobs, old, mask))


@pytest.mark.parametrize("wrong", [without_stop, all_stopped, plain_token])
def test_wrong_gspo_token_is_caught(wrong, monkeypatch):
    monkeypatch.setitem(globals(), "importance_ratio", wrong)
    slopes, _ = token_slopes()
    s = torch.exp(torch.tensor(0.1))
    assert not torch.allclose(slopes, torch.diag(torch.stack([s, s])))


def first_token(logprobs, old, mask, level):
    ratios = plain_token(logprobs, old, mask, level)
    return ratios if level == "token" else ratios[:, :1].expand(-1, 1 if level == "sequence" else 2)


STALE_MUTANTS = {
    "ratio of the first token for the sequence": (policy, "importance_ratio", first_token),
    "sum for the mean": (ratio, "masked_mean", lambda values, mask: (values * mask).sum(-1)),
    "old and new exchanged": (ratio, "token_log_ratio", lambda new, old, mask: (old - new) * mask),
    "largest for smallest": (policy, "clip_surrogate", lambda w, c, gain: torch.maximum(w * gain, c * gain)),
    "clipped whatever the sign": (policy, "clip_surrogate", lambda w, c, gain: c * gain),
    "no lower bound": (policy.PolicyObjective, "clipped", lambda self, w: w.clamp(max=1.2)),
    "no upper bound": (policy.PolicyObjective, "clipped", lambda self, w: w.clamp(min=0.8)),
}


@pytest.mark.parametrize("name", STALE_MUTANTS)
def test_wrong_clipping_is_caught(name, monkeypatch):
    monkeypatch.setattr(*STALE_MUTANTS[name])
    caught = 0
    for row in TABLE:
        try:
            test_what_is_clipped_off_the_policy(*row)
        except AssertionError:
            caught += 1
    assert caught > 0


def test_clip_higher_gives_more_room_above_than_below():
    made = objective(ratio_level="token", clip_low=0.2, clip_high=0.28, kl_coef=0.0)
    for (shift, gain), clipped in zip(itertools.product((0.24, -0.24), (1.0, -1.0)), (0, 0, 0, 1), strict=True):
        out = made.loss(NEW, NEW - shift, None, torch.tensor([gain]), MASK)
        assert float(out.metrics["clip_frac"]) == clipped
