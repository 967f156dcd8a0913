"""Weights in half precision: what a step of AdamW does to them, and when a run says so."""

import pytest
import torch

from o3v.training.layouts import LAYOUTS
from o3v.training.rounding import least_step, rounding_warnings


def moved(weight, dtype, lr):
    """A weight after one step of AdamW with a constant gradient."""
    parameter = torch.nn.Parameter(torch.tensor([weight]).to(dtype))
    parameter.grad = torch.ones_like(parameter)
    start = parameter.detach().clone()
    torch.optim.AdamW([parameter], lr=lr, weight_decay=0.0).step()
    return bool((parameter != start).any())


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_a_step_below_the_least_one_is_lost(dtype):
    number = getattr(torch, dtype)
    for weight in (1.0, 1.3, 1.99):
        assert not moved(weight, number, 0.9 * least_step(dtype) * weight)
        assert moved(weight, number, 4.2 * least_step(dtype) * weight)


def test_the_papers_learning_rate_moves_no_usual_weight_in_bfloat16():
    assert not moved(0.02, torch.bfloat16, 1e-6) and moved(0.02, torch.float32, 1e-6)


def test_only_whole_weights_in_half_precision_without_a_float32_copy_are_told_of():
    said = {layout: rounding_warnings(layout, "bfloat16", False, 1e-6) for layout in LAYOUTS}
    assert [layout for layout, warnings in said.items() if warnings] == ["ddp"]
    assert "weights above 0.00051 round back" in said["ddp"][0]
    assert not rounding_warnings("ddp", "float32", False, 1e-6) and not rounding_warnings("ddp", "bfloat16", True, 1e-6)
