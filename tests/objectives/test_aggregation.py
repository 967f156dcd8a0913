"""Aggregation: what a completion and a token weigh, rows without tokens, parts of an update."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from o3v.objectives.aggregation import AGGREGATIONS, UpdateSize, aggregate

names = st.sampled_from(AGGREGATIONS)
lengths = st.lists(st.integers(1, 5), min_size=1, max_size=5)


def mask_of(ends):
    return torch.arange(5) < torch.tensor(ends).unsqueeze(-1)


def weights_of(ends, name, total=None):
    """Weight of each token in the result."""
    values = torch.zeros(len(ends), 5, dtype=torch.float64, requires_grad=True)
    return torch.autograd.grad(aggregate(values, mask_of(ends), name, 7, total), values)[0]


def test_weights_by_hand():
    assert weights_of([1, 4], "sequence").sum(-1).tolist() == [0.5, 0.5]
    assert weights_of([1, 4], "token").sum(-1).tolist() == pytest.approx([0.2, 0.8])
    assert weights_of([1, 4], "constant").sum(-1).tolist() == pytest.approx([1 / 14, 4 / 14])


@settings(deadline=None)
@given(lengths, names)
def test_a_row_without_tokens_is_no_row(ends, name):
    torch.testing.assert_close(weights_of([*ends, 0], name)[:-1], weights_of(ends, name))
    assert weights_of([0, 0], name).abs().sum() == 0.0


@settings(deadline=None)
@given(lengths, lengths, names)
def test_parts_weigh_as_the_whole(first, second, name):
    total = UpdateSize.of(mask_of(first + second))
    parts = torch.cat([weights_of(first, name, total), weights_of(second, name, total)])
    torch.testing.assert_close(parts, weights_of(first + second, name))


@settings(deadline=None)
@given(lengths)
def test_sequence_and_token_weights_sum_to_1(ends):
    assert float(weights_of(ends, "sequence").sum()) == pytest.approx(1.0)
    assert float(weights_of(ends, "token").sum()) == pytest.approx(1.0)


def test_what_is_masked_has_no_influence():
    values = torch.tensor([[1.0, float("nan")]], requires_grad=True)
    for name in AGGREGATIONS:
        loss = aggregate(values, torch.tensor([[True, False]]), name, 2)
        assert torch.isfinite(torch.autograd.grad(loss, values)[0]).all()


def test_unknown_names_are_errors():
    with pytest.raises(ValueError, match="median"):
        aggregate(torch.ones(1, 1), torch.ones(1, 1, dtype=torch.bool), "median", 1)
