"""No figures without exactness: what is right passes, each wrong engine and each control that would pass is caught."""

import dataclasses

import pytest

from o3v.measure import exactness, ways
from o3v.measure.exactness import Exactness, ExactnessError, check_exactness, compare
from tests import tiny
from tests.measure.cases import tiny_case

FAMILIES = tiny.FAMILIES


@pytest.mark.parametrize("family", FAMILIES)
def test_every_way_is_exact_and_every_control_is_noticed(family):
    (result,) = check_exactness([tiny.spec(family)], tiny_case().sampling, seed=0)
    assert set(result.logprobs) == {"dense", "mask", "split", "kept", "rollout"}
    assert set(result.gradients) == {"dense", "mask", "split", "kept"}
    assert set(result.controls) == {"wrong start position", "missing token-type ids", "plain causal mask"}
    assert max(result.logprobs.values()) <= 1e-5
    assert max(result.gradients.values()) <= 1e-5
    assert min(result.controls.values()) > 0.1


def test_a_wrong_way_is_caught(monkeypatch):
    def late(policy, prefix, ids, mask, temperature=1.0):
        return right(
            policy, dataclasses.replace(prefix, next_position=prefix.next_position + 1), ids, mask, temperature
        )

    right = ways.kept_scores
    monkeypatch.setattr(ways, "kept_scores", late)
    faults = compare(tiny.spec("qwen2_5_vl"), tiny_case().sampling, 0).faults()
    assert [fault for fault in faults if "log-probabilities of kept" in fault]
    assert [fault for fault in faults if "gradients of kept" in fault]
    assert not [fault for fault in faults if "split" in fault]


def test_right_values_with_wrong_gradients_are_caught(monkeypatch):
    def detached(policy, prefix, ids, mask, temperature=1.0):
        return right(policy, prefix.detach(), ids, mask, temperature)

    right = ways.kept_scores
    monkeypatch.setattr(ways, "kept_scores", detached)
    (fault,) = compare(tiny.spec("qwen2_5_vl"), tiny_case().sampling, 0).faults()
    assert "gradients of kept" in fault


GOOD = Exactness("f", {"kept": 1e-6}, {"kept": 1e-6}, {"wrong": 0.5}, 1.0)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"logprobs": {"kept": float("nan")}}, "log-probabilities of kept differ by nan"),
        ({"gradients": {"kept": 2e-5}}, "gradients of kept differ by 2.0e-05"),
        ({"controls": {"wrong": 1e-3}}, "wrong changes log-probabilities by 1.0e-03 only"),
        ({"spread": 0.0}, "all log-probabilities are alike"),
    ],
)
def test_each_fault_is_said(changed, said):
    (fault,) = dataclasses.replace(GOOD, **changed).faults()
    assert said in fault
    assert GOOD.faults() == []


def test_a_fault_stops_everything(monkeypatch):
    monkeypatch.setattr(exactness, "compare", lambda *given: dataclasses.replace(GOOD, controls={"wrong": 0.0}))
    with pytest.raises(ExactnessError, match=r"no figures, because\n.*would not be noticed"):
        check_exactness([tiny.spec("qwen2_5_vl")], tiny_case().sampling, 0)
