"""Masked means: nothing under False counts, NaN and gradient included."""

import math

import torch

from o3v.objectives.masked import masked_mean, masked_sum


def test_what_is_masked_has_no_influence():
    values = torch.tensor([[1.0, math.nan], [3.0, 5.0]], requires_grad=True)
    mask = torch.tensor([[True, False], [True, True]])
    assert masked_sum(values, mask).tolist() == [1.0, 8.0]
    assert masked_mean(values, mask).tolist() == [1.0, 4.0]
    masked_mean(values, mask).mean().backward()
    assert values.grad.tolist() == [[0.5, 0.0], [0.25, 0.25]]


def test_nothing_counts():
    assert masked_mean(torch.ones(2, 3), torch.zeros(2, 3, dtype=torch.bool)).tolist() == [0.0, 0.0]
