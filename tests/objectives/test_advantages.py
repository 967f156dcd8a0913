"""Advantages: by hand and the properties of any group."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from o3v.objectives.advantages import ADVANTAGE_MODES, group_advantages, is_flat

group = st.lists(st.integers(-40, 40).map(lambda v: v / 10), min_size=1, max_size=8)
modes = st.sampled_from(ADVANTAGE_MODES)


def of(rewards, mode="std"):
    return group_advantages(torch.tensor([rewards], dtype=torch.float64), mode)[0]


def test_by_hand():
    std = 2.0**0.5
    assert of([1.0, 3.0]).tolist() == pytest.approx([-1 / (std + 1e-4), 1 / (std + 1e-4)])
    assert of([1.0, 3.0], "mean_only").tolist() == [-1.0, 1.0]


@settings(deadline=None)
@given(group, modes)
def test_sum_to_zero_and_are_finite(rewards, mode):
    values = of(rewards, mode)
    assert torch.isfinite(values).all()
    assert float(values.sum()) == pytest.approx(0.0, abs=1e-8)


@settings(deadline=None)
@given(group, modes, st.integers(-9, 9))
def test_a_shift_changes_nothing(rewards, mode, shift):
    torch.testing.assert_close(of([r + shift for r in rewards], mode), of(rewards, mode), rtol=1e-6, atol=1e-6)


@settings(deadline=None)
@given(group, modes, st.randoms())
def test_follow_a_permutation(rewards, mode, random):
    order = random.sample(range(len(rewards)), len(rewards))
    torch.testing.assert_close(of([rewards[i] for i in order], mode), of(rewards, mode)[order])


@pytest.mark.parametrize("mode", ["std", "mean_only"])
def test_equal_rewards_teach_nothing(mode):
    rewards = torch.tensor([[0.1, 0.1, 0.1], [0.1, 0.2, 0.1]])  # 0.1 has a rounding error in its mean
    assert group_advantages(rewards, mode)[0].tolist() == [0.0, 0.0, 0.0]
    assert is_flat(rewards).tolist() == [True, False]
    assert group_advantages(torch.tensor([[5.0]]), mode).tolist() == [[0.0]]


def test_the_released_formula_keeps_the_rounding_noise_of_equal_rewards():
    rewards = torch.full((1, 8), 1.3681150674819946)
    assert group_advantages(rewards, "reference")[0].tolist() == pytest.approx([-0.0011905757] * 8, rel=1e-5)
    assert group_advantages(rewards, "std")[0].tolist() == [0.0] * 8


@settings(deadline=None)
@given(group)
def test_std_is_the_released_formula_where_rewards_differ(rewards):
    if len(set(rewards)) > 1:
        assert of(rewards, "std").tolist() == of(rewards, "reference").tolist()


def test_unknown_mode():
    with pytest.raises(ValueError, match="mean_only"):
        of([1.0], "rank")
