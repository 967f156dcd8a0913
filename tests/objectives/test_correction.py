"""Importance weights between engine and training: formula, cap, metrics; the expectation that they restore."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from o3v.errors import ConfigError
from o3v.objectives.correction import Correction
from tests.objectives.made import gradient, objective, random_case

TRAIN = torch.tensor([[-1.0, -2.0, -9.0], [-1.0, -1.0, -9.0]])
ENGINE = torch.tensor([[-1.5, -2.5, 0.0], [-0.5, -1.0, 0.0]])
MASK = torch.tensor([[True, True, False], [True, True, False]])


def test_a_weight_a_token():
    found = Correction("token", "truncate", 1.5).weights(TRAIN, ENGINE, MASK)
    wanted = torch.tensor([[1.5, 1.5, 1.0], [math.exp(-0.5), 1.0, 1.0]])  # e^0.5 = 1.65 is cut
    assert torch.allclose(found, wanted)


def test_a_weight_a_completion():
    found = Correction("sequence", "truncate", 10.0).weights(TRAIN, ENGINE, MASK)
    assert torch.allclose(found, torch.tensor([[math.e], [math.exp(-0.5)]]))


def test_beyond_the_cap_is_left_out():
    found = Correction("sequence", "mask", 2.0).weights(TRAIN, ENGINE, MASK)
    assert torch.allclose(found, torch.tensor([[0.0], [math.exp(-0.5)]]))


def test_none_is_no_weight_and_still_measures():
    none = Correction("none", "truncate", 1.5)
    assert none.weights(TRAIN, ENGINE, MASK) is None
    metrics = none.metrics(TRAIN, ENGINE, MASK)
    assert metrics["rollout/engine_gap"] == pytest.approx(0.375)
    assert metrics["rollout/engine_gap_max"] == pytest.approx(0.5)
    assert metrics["rollout/truncated"] == 0.5
    k3 = [math.exp(d) - 1 - d for d in (0.5, 0.5, -0.5, 0.0)]
    assert metrics["rollout/kl_engine"] == pytest.approx(sum(k3) / 4)


def test_nothing_counted_measures_nothing():
    assert Correction("token", "truncate", 2.0).metrics(TRAIN, ENGINE, torch.zeros_like(MASK)) == {}


@given(st.sampled_from(["token", "sequence"]), st.sampled_from(["truncate", "mask"]), st.integers(0, 1000))
def test_the_same_policies_need_no_correction(level, mode, seed):
    lps, _, _, _, mask = random_case(seed)
    weights = Correction(level, mode, 2.0).weights(lps, lps, mask)
    assert torch.equal(weights, torch.ones_like(weights))
    assert Correction(level, mode, 2.0).metrics(lps, lps, mask)["rollout/kl_engine"] == 0


def test_the_weights_restore_the_expectation_under_training():
    """Over all tokens of a small vocabulary, E_engine[w f] = E_train[f] while no weight is cut."""
    generator = torch.Generator().manual_seed(0)
    train, engine = (torch.randn(6, generator=generator).log_softmax(0) for _ in range(2))
    value = torch.randn(6, generator=generator)
    mask = torch.ones(6, 1, dtype=torch.bool)
    weights = Correction("token", "truncate", 1e6).weights(train[:, None], engine[:, None], mask)[:, 0]
    assert (engine.exp() * weights * value).sum() == pytest.approx(float((train.exp() * value).sum()), abs=1e-6)
    assert abs(float((engine.exp() * value).sum() - (train.exp() * value).sum())) > 0.01, "without them it is another"


@pytest.mark.parametrize("level", ["sequence", "token"])
def test_the_policy_loss_takes_the_weights_and_the_kl_does_not(level):
    lps, old, ref, gains, mask = random_case(3)
    half = torch.full((len(lps), 1), 0.5)
    for kl_coef in (0.0, 0.04):
        made = objective(ratio_level=level, clip_low=0.9, clip_high=9.0, kl_coef=kl_coef)
        plain, weighted = (made.loss(lps, old, ref, gains, mask, None, w) for w in (None, half))
        assert torch.allclose(weighted.metrics["policy_loss"], 0.5 * plain.metrics["policy_loss"])
        assert torch.allclose(weighted.metrics["kl"], plain.metrics["kl"])
    one = torch.ones(len(lps), lps.shape[1])
    assert torch.equal(
        gradient(made, lps, old, ref, gains, mask, None, one), gradient(made, lps, old, ref, gains, mask, None, None)
    )


@pytest.mark.parametrize("changes", [{"level": "word"}, {"mode": "cut"}, {"cap": 1.0}])
def test_what_cannot_be_is_named(changes):
    values = {"level": "token", "mode": "truncate", "cap": 2.0} | changes
    with pytest.raises(ConfigError, match=f"engine.correction.{next(iter(changes))}"):
        Correction(**values)
