"""KL estimates: k3 never negative and bounded; which value and which gradient each has in the mean."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from o3v.objectives import kl
from o3v.objectives.kl import KL_ESTIMATORS, k3, kl_estimate

nats = st.floats(-100, 0)


@settings(deadline=None)
@given(nats, nats)
def test_is_bounded_and_not_negative(policy, reference):
    value = float(k3(torch.tensor(policy), torch.tensor(reference)))
    assert -1e-6 <= value <= 22_016.0
    assert (value == 0.0) if policy == reference else True


REFERENCE = torch.tensor([0.3, 0.45, 0.25], dtype=torch.float64).log()
LOGITS = torch.tensor([0.5, -0.2, 0.9], dtype=torch.float64)


def exact(estimator, corrected=False, old=None):
    """Mean over all three tokens of the estimate, and the mean of its gradient with respect to the logits."""
    logits = LOGITS.clone().requires_grad_()
    new = logits.log_softmax(-1)
    sampler = new.detach() if old is None else old
    values = kl_estimate(new, REFERENCE, estimator)
    mean = (sampler.exp() * (values * (new - sampler).exp() if corrected else values)).sum()
    return float(mean.detach()), torch.autograd.grad(mean, logits)[0]


def true_kl(turned=False):
    logits = LOGITS.clone().requires_grad_()
    new = logits.log_softmax(-1)
    a, b = (REFERENCE, new) if turned else (new, REFERENCE)
    value = (a.exp() * (a - b)).sum()
    return float(value.detach()), torch.autograd.grad(value, logits)[0]


def test_k1_and_k3_have_the_value_of_the_kl():
    assert exact("k1")[0] == pytest.approx(true_kl()[0])
    assert exact("k3")[0] == pytest.approx(true_kl()[0])
    assert exact("k2")[0] == pytest.approx(true_kl()[0], rel=0.2)
    assert exact("k2")[0] != pytest.approx(true_kl()[0], rel=0.01)


def test_gradients_on_the_policy_are_what_the_docstring_says():
    torch.testing.assert_close(exact("k1")[1], torch.zeros(3, dtype=torch.float64))
    torch.testing.assert_close(exact("k2")[1], true_kl()[1])
    torch.testing.assert_close(exact("k3")[1], true_kl(turned=True)[1])


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_the_correction_gives_value_and_gradient_of_the_kl_off_the_policy_too(estimator):
    old = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64).log()
    for sampler in (None, old):
        value, slope = exact(estimator, corrected=True, old=sampler)
        assert value == pytest.approx(true_kl()[0])
        torch.testing.assert_close(slope, true_kl()[1])


def test_no_gradient_into_the_reference():
    reference = REFERENCE.clone().requires_grad_()
    for name in KL_ESTIMATORS:
        assert not kl_estimate(LOGITS, reference, name).requires_grad
    with pytest.raises(ValueError, match="k4"):
        kl.kl_estimate(LOGITS, REFERENCE, "k4")
