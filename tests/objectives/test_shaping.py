"""Overlong completions: the penalty's shape, who is kept, and both in the objective."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from o3v.objectives import policy
from o3v.objectives.advantages import is_flat
from o3v.objectives.shaping import kept_completions, soft_overlong_penalty
from tests.objectives.made import objective

TOTALS = torch.tensor([[1.0, 1.0, 0.0, 1.0]])
LENGTHS = torch.tensor([[10, 100, 90, 60]])
COLUMNS = torch.tensor([[[1.0, 0.0], [1.0, 0.0], [0.0, 0.0], [1.0, 0.0]]])
DAPO = {"max_length": 100, "overlong_cache": 0.2}


@settings(deadline=None)
@given(st.integers(0, 300), st.integers(0, 300), st.integers(1, 200), st.floats(0.0, 1.0))
def test_longer_is_never_better(a, b, limit, share):
    short, long = sorted((a, b))
    made = objective(max_length=limit, overlong_cache=share)
    values = made.shape(torch.zeros(1, 2), torch.tensor([[short, long]]))[0]
    assert -1.0 <= values[1] <= values[0] <= 0.0
    assert short >= limit - share * limit - 1 or values[0] == 0.0


def test_the_three_parts_of_the_penalty():
    lengths = torch.tensor([16384, 16385, 18432, 20480, 20481])
    found = soft_overlong_penalty(lengths, 20480, 4096)
    assert found.tolist() == pytest.approx([0.0, -1 / 4096, -0.5, -1.0, -1.0])


def test_the_penalty_is_part_of_the_total():
    made = objective(advantage="mean_only", **DAPO)
    shaped = made.shape(TOTALS, LENGTHS)
    assert shaped.tolist() == [[1.0, 0.0, -0.5, 1.0]]
    by_lengths = made.advantages(TOTALS, lengths=LENGTHS)
    assert torch.equal(by_lengths, made.advantages(shaped))
    assert not torch.equal(by_lengths, made.advantages(TOTALS))
    assert torch.equal(objective(max_length=100).shape(TOTALS, LENGTHS), TOTALS)


def test_the_penalty_is_one_more_term_of_gdpo():
    made = objective(advantage="per_reward", **DAPO)
    found = made.advantages(TOTALS, COLUMNS, None, LENGTHS)
    penalty = torch.tensor([[0.0, -1.0, -0.5, 0.0]]).unsqueeze(-1)
    longer = objective(advantage="per_reward").advantages(TOTALS, torch.cat([COLUMNS, penalty], -1))
    torch.testing.assert_close(found, longer)
    with pytest.raises(ValueError, match="lengths"):
        made.advantages(TOTALS, COLUMNS)


def test_flat_groups_are_those_without_advantages():
    totals = torch.tensor([[1.0, 1.0], [0.5, 1.0]])
    columns = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.5, 0.0], [1.0, 0.0]]])
    assert objective().flat(totals).tolist() == [True, False]
    assert objective(advantage="per_reward").flat(totals, columns).tolist() == [True, False]  # two terms cancel
    paid = torch.tensor([1.0, 0.5])
    assert objective(advantage="per_reward").flat(totals, columns, paid).tolist() == [False, False]
    unweighted = torch.tensor([0.0, 0.0])
    assert objective(advantage="per_reward").flat(totals, columns, unweighted).tolist() == [True, True]
    lengths = torch.tensor([[10, 100], [1, 1]])
    assert objective(**DAPO).flat(totals, lengths=lengths).tolist() == [False, False]
    assert objective(**DAPO).flat(totals).tolist() == [True, False]


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000), st.sampled_from(["std", "mean_only", "batch_std", "leave_one_out", "per_reward"]))
def test_equal_rewards_are_flat(seed, mode):
    generator = torch.Generator().manual_seed(seed)
    columns = torch.randint(0, 2, (3, 2, 2), generator=generator).float() / 2
    totals = columns.sum(-1)
    flat = objective(advantage=mode).flat(totals, columns)
    if mode == "per_reward":
        assert (flat | (columns[:, 0] != columns[:, 1]).any(-1)).all()
    else:
        assert torch.equal(flat, is_flat(totals))


def test_rounding_noise_of_the_released_formula_is_not_flat():
    totals = torch.full((1, 8), 1.3681150674819946)
    assert objective(advantage="reference").flat(totals).tolist() == [False]
    assert objective().flat(totals).tolist() == [True]


def test_who_is_kept():
    completed = torch.tensor([True, False, True])
    assert objective().kept(completed).tolist() == [True, True, True]
    assert objective(overlong="filter").kept(completed).tolist() == [True, False, True]
    with pytest.raises(ValueError, match="cut"):
        kept_completions(completed, "cut")


MUTANTS = {
    "penalty from 0": lambda lengths, limit, cache: -(lengths / limit).clamp(0, 1),
    "no floor": lambda lengths, limit, cache: ((limit - cache - lengths) / max(cache, 1)).clamp(max=0.0),
    "a step": lambda lengths, limit, cache: -(lengths > limit - cache).float(),
    "positive": lambda lengths, limit, cache: -soft_overlong_penalty(lengths, limit, cache),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_wrong_penalties_are_caught(name, monkeypatch):
    monkeypatch.setattr(policy, "soft_overlong_penalty", MUTANTS[name])
    shaped = objective(**DAPO).shape(torch.zeros(1, 4), torch.tensor([[10, 90, 100, 130]]))
    assert shaped.tolist() != [[0.0, -0.5, -1.0, -1.0]]
