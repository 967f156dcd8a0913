"""Advantages: by hand and the properties of any group."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from o3v.objectives.advantages import ADVANTAGE_MODES, group_advantages, is_flat

group = st.lists(st.integers(-40, 40).map(lambda v: v / 10), min_size=1, max_size=8)
modes = st.sampled_from([mode for mode in ADVANTAGE_MODES if mode != "per_reward"])
FLAT_IS_ZERO = ["std", "mean_only", "batch_std", "leave_one_out"]
grids = st.integers(1, 3).flatmap(
    lambda size: st.lists(
        st.lists(st.lists(st.integers(0, 8).map(lambda v: v / 8), min_size=3, max_size=3), min_size=4, max_size=4),
        min_size=size, max_size=size,
    )
)  # fmt: skip


def of(rewards, mode="std"):
    return group_advantages(torch.tensor([rewards], dtype=torch.float64), mode)[0]


def test_by_hand():
    std = 2.0**0.5
    assert of([1.0, 3.0]).tolist() == pytest.approx([-1 / (std + 1e-4), 1 / (std + 1e-4)])
    assert of([1.0, 3.0], "mean_only").tolist() == [-1.0, 1.0]
    assert of([0.0, 3.0, 6.0], "leave_one_out").tolist() == pytest.approx([0 - 4.5, 3 - 3, 6 - 1.5])
    batch = torch.tensor([[0.0, 2.0], [10.0, 10.0]], dtype=torch.float64)
    assert group_advantages(batch, "batch_std")[0].tolist() == pytest.approx([-1 / (5.2599113 + 1e-4), 1 / 5.2600113])


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


@pytest.mark.parametrize("mode", FLAT_IS_ZERO)
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


def per_reward(values, weights=(1.0, 0.5, 2.0)):
    columns = torch.tensor(values, dtype=torch.float64)
    chosen = torch.tensor(weights, dtype=torch.float64)
    return group_advantages((columns * chosen).sum(-1), "per_reward", columns, chosen)


def test_gdpo_by_hand():
    """Answers right in either of two terms count alike, although one term pays half."""
    found = per_reward([[[1.0, 0.0], [0.0, 0.5], [1.0, 0.5], [0.0, 0.0]]], (1.0, 1.0))[0]
    z = 0.5 / (1 / 3) ** 0.5
    sums = torch.tensor([0.0, 0.0, 2 * z, -2 * z], dtype=torch.float64)
    torch.testing.assert_close(found, sums / sums.std(), rtol=1e-3, atol=1e-3)


@settings(deadline=None)
@given(grids, st.randoms())
def test_gdpo_ignores_terms_that_do_not_apply_and_their_order(values, random):
    order = random.sample(range(4), 4)
    padded = [[[*row, 0.0] for row in group] for group in values]
    shuffled = [[[[*row, 0.0][k] for k in order] for row in group] for group in values]
    plain = per_reward(values)
    weights = (1.0, 0.5, 2.0, 7.0)
    torch.testing.assert_close(per_reward(padded, weights), plain)
    torch.testing.assert_close(per_reward(shuffled, [weights[k] for k in order]), plain)
    torch.testing.assert_close(per_reward([[[*row, 0.25] for row in group] for group in values], weights), plain)
    uncounted = [[[*row, float(k)] for k, row in enumerate(group)] for group in values]
    torch.testing.assert_close(per_reward(uncounted, (1.0, 0.5, 2.0, 0.0)), plain)


@settings(deadline=None)
@given(grids, st.integers(1, 9))
def test_gdpo_does_not_see_the_scale_of_a_term(values, scale):
    larger = [[[a * scale, b, c] for a, b, c in group] for group in values]
    torch.testing.assert_close(per_reward(larger), per_reward(values), rtol=2e-2, atol=2e-3)


@settings(deadline=None)
@given(grids)
def test_gdpo_groups_sum_to_zero_and_flat_ones_are_zero(values):
    found = per_reward(values)
    assert torch.isfinite(found).all()
    assert found.sum(-1).tolist() == pytest.approx([0.0] * len(values), abs=1e-8)
    for group, gains in zip(values, found, strict=True):
        if all(row == group[0] for row in group):
            assert gains.tolist() == [0.0] * 4


def test_gdpo_needs_the_terms_and_says_0_of_one_completion():
    with pytest.raises(ValueError, match="columns"):
        of([1.0, 2.0], "per_reward")
    assert group_advantages(torch.ones(2, 1), "per_reward", torch.rand(2, 1, 3)).tolist() == [[0.0], [0.0]]
