"""The merged attention of a group against one softmax over everything a token may see, values and gradients."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from o3v.models.group_attention import group_attention
from o3v.models.ragged import Ragged

HEADS, KV, DIM = 4, 2, 8


def inputs(lengths, prompt, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def tensor(heads, tokens):
        return torch.randn(1, heads, tokens, DIM, generator=generator, dtype=dtype).requires_grad_()

    total = sum(lengths)
    return tensor(HEADS, total), tensor(KV, total), tensor(KV, total), tensor(KV, prompt), tensor(KV, prompt)


def plain(q, k, v, prompt_k, prompt_v, lengths, scale):
    """Each completion by itself: prompt and own tokens in one softmax."""
    parts, start = [], 0
    for length in lengths:
        own = slice(start, start + length)
        keys, values = (
            torch.cat(pair, 2).repeat_interleave(HEADS // KV, 1)
            for pair in ((prompt_k, k[:, :, own]), (prompt_v, v[:, :, own]))
        )
        scores = q[:, :, own] @ keys.transpose(-1, -2) * scale
        own_future = torch.ones(length, length, dtype=torch.bool).triu(1)
        future = torch.cat([torch.zeros(length, prompt_k.shape[2], dtype=torch.bool), own_future], 1)
        parts.append(scores.masked_fill(future, -torch.inf).softmax(-1) @ values)
        start += length
    return torch.cat(parts, 2)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.integers(1, 9), st.integers(0, 5))
def test_equal_to_one_softmax(lengths, prompt, seed):
    tensors = inputs(lengths, prompt, seed=seed)
    found = group_attention(*tensors, Ragged.of(lengths, "cpu"), 0.3)
    wanted = plain(*tensors, lengths, 0.3)
    assert torch.allclose(found, wanted, atol=1e-12)
    weights = torch.randn(found.shape, dtype=found.dtype, generator=torch.Generator().manual_seed(9))
    gradients = torch.autograd.grad((found * weights).sum(), tensors)
    expected = torch.autograd.grad((wanted * weights).sum(), tensors)
    for one, other in zip(gradients, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-11)


def test_gradients_by_finite_differences():
    lengths = [3, 1, 2]
    rows = Ragged.of(lengths, "cpu")
    assert torch.autograd.gradcheck(lambda *t: group_attention(*t, rows, 0.4), inputs(lengths, 4), atol=1e-6)


def test_large_scores_do_not_overflow():
    tensors = [tensor.detach() * 40 for tensor in inputs([3, 2], 5, torch.float32)]
    found = group_attention(*tensors, Ragged.of([3, 2], "cpu"), 1.0)
    assert torch.isfinite(found).all()
    assert torch.allclose(found, plain(*tensors, [3, 2], 1.0), atol=1e-3)


@pytest.mark.parametrize("lengths", [[3, 3], [1, 4, 2]])
def test_ragged_rows_come_back_as_they_went(lengths):
    rows = Ragged.of(lengths, "cpu")
    tokens = torch.arange(sum(lengths) * 2.0).reshape(1, 2, sum(lengths), 1)
    padded = rows.pad(tokens)
    assert padded.shape == (len(lengths), 2, max(lengths), 1)
    assert torch.equal(rows.unpad(padded), tokens)
    zeros = rows.pad_zeros(tokens)
    assert torch.equal(rows.unpad(zeros), tokens)
    for row, length in enumerate(lengths):
        assert not zeros[row, :, length:].any()
        assert (padded[row, :, length:] == padded[row, :, length - 1 : length]).all()


def test_a_group_of_empty_rows():
    assert Ragged.of([0, 0], "cpu").rows == 0
