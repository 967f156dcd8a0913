"""Metrics of ratios: by hand, without any, and of passes put together."""

import pytest
import torch

from o3v.objectives.output import LossOutput
from o3v.objectives.ratio_metrics import merged_metrics, ratio_metrics

NO = torch.zeros(0, dtype=torch.bool)


def output(ratios, loss, low=None):
    values = torch.tensor(ratios)
    flags = torch.zeros(len(values), dtype=torch.bool) if low is None else torch.tensor(low)
    metrics = {"policy_loss": torch.tensor(loss), "kl": torch.tensor(2 * loss)}
    shown = metrics | ratio_metrics(values, flags, torch.zeros_like(flags))
    return LossOutput(torch.tensor(loss), shown, torch.tensor(len(values)))


def test_nothing_counted_is_0():
    assert all(float(value) == 0.0 for value in ratio_metrics(torch.zeros(0), NO, NO).values())


def test_passes_of_unequal_size_and_an_empty_one():
    parts = [output([0.5], 0.25, [True]), output([1.0, 1.5, 2.0], 0.5), output([], 0.0)]
    merged = {name: float(value) for name, value in merged_metrics(parts).items()}
    together = torch.tensor([0.5, 1.0, 1.5, 2.0])
    assert merged == pytest.approx(
        {
            "policy_loss": 0.75, "kl": 1.5, "clip_frac": 0.25, "clip_frac_low": 0.25, "clip_frac_high": 0.0,
            "ratio_mean": 1.25, "ratio_std": float(together.std(unbiased=False)), "ratio_max": 2.0, "ratio_min": 0.5,
        }
    )  # fmt: skip


def test_empty_passes_alone():
    merged = merged_metrics([output([], 0.0), output([], 0.0)])
    assert all(float(value) == 0.0 for value in merged.values())
