"""KL estimate: never negative, 0 for equal models, bounded."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from o3v.objectives.kl import k3

nats = st.floats(-100, 0)


@settings(deadline=None)
@given(nats, nats)
def test_is_bounded_and_not_negative(policy, reference):
    value = float(k3(torch.tensor(policy), torch.tensor(reference)))
    assert -1e-6 <= value <= 22_016.0
    assert (value == 0.0) if policy == reference else True


def test_expectation_is_the_true_kl():
    p, q = torch.tensor([0.7, 0.3], dtype=torch.float64), torch.tensor([0.4, 0.6], dtype=torch.float64)
    estimate = float((p * k3(p.log(), q.log())).sum())
    assert estimate == pytest.approx(float((p * (p / q).log()).sum()))
