"""The arms do one and the same step: equal gradients where they are given the same completions, and real updates."""

import copy
from importlib.util import find_spec

import pytest
import torch

from o3v.measure import dense, shared
from o3v.measure.clock import PHASES, Meter, cpu_seconds
from o3v.measure.model import frames_prompt, random_policy
from o3v.measure.worker import ArmError, measure_arm
from tests.measure.cases import tiny_case

needs_trl = pytest.mark.skipif(find_spec("trl") is None, reason="TRL is not installed (pip install -e '.[bench]')")


def steps(arm, case, count=2):
    """Phases of some steps of an arm, and how far each weight moved."""
    policy = random_policy(case)
    before = copy.deepcopy(policy.model.state_dict())
    meters = [Meter(cpu_seconds) for _ in range(count)]
    arm.run(case, policy, frames_prompt(policy, case.prompt, case.image_px, case.seed), meters)
    after = policy.model.state_dict()
    return [meter.phases for meter in meters], {name: float((after[name] - before[name]).abs().max()) for name in after}


def trl_arm():
    from o3v.measure import trl

    return trl


@pytest.mark.parametrize("way", ["kept", "split", "mask"])
def test_a_shared_step_has_its_phases_and_moves_every_weight(way):
    phases, moved = steps(shared, tiny_case(f"prompt_pass={way}", "lr=1e-3"))
    assert set(phases[0]) == {*PHASES, "step"} - {"ref"}
    assert min(moved.values()) > 0


@pytest.mark.parametrize("overrides", [(), ("micro_batch=2", "objective.kl_coef=0.1")])
def test_a_dense_step_has_its_phases_and_moves_every_weight(overrides):
    phases, moved = steps(dense, tiny_case("lr=1e-3", *overrides))
    assert set(phases[0]) == {*PHASES, "step"} - (set() if overrides else {"ref"})
    assert min(moved.values()) > 0


@needs_trl
@pytest.mark.parametrize("overrides", [(), ("micro_batch=2", "objective.kl_coef=0.1")])
def test_a_step_of_trl_has_its_phases_and_moves_every_weight(overrides):
    phases, moved = steps(trl_arm(), tiny_case("lr=1e-3", *overrides))
    assert set(phases[1]) == {*PHASES, "step"} - (set() if overrides else {"ref"})
    assert min(moved.values()) > 0


def test_the_parts_of_a_dense_step_make_the_update_of_the_whole(monkeypatch):
    ids = torch.randint(300, 500, (4, 5), generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(dense, "_generate", lambda case, policy, encoded: ids)
    whole, halves = (gradients(dense, tiny_case(f"micro_batch={rows}"), monkeypatch) for rows in (4, 2))
    assert float((whole - halves).norm() / whole.norm()) < 1e-5


def gradients(arm, case, monkeypatch):
    """The gradient that an arm hands to its optimizer."""
    kept = []
    monkeypatch.setattr(
        arm,
        "step_optimizer",
        lambda policy, optimizer: kept.append(torch.cat([p.grad.flatten() for p in policy.model.parameters()])),
    )
    steps(arm, case, count=1)
    return kept[0]


def test_shared_and_dense_steps_have_the_same_gradient(monkeypatch):
    """On the completions that the shared arm drew."""
    drawn = []
    roll = shared._roll
    monkeypatch.setattr(shared, "_roll", lambda *args: drawn.append(roll(*args)) or drawn[-1])
    own = gradients(shared, tiny_case(), monkeypatch)
    monkeypatch.setattr(dense, "_generate", lambda case, policy, encoded: drawn[0][1].ids)
    other = gradients(dense, tiny_case(), monkeypatch)
    assert drawn[0][1].ids.shape == (4, 5)
    assert float((own - other).norm() / other.norm()) < 1e-5


def test_an_arm_in_its_own_process():
    result = measure_arm("shared", tiny_case("steps=2"))
    assert len(result.later) == 2
    assert result.counts["step"]["vision_patches"] == result.patches == 36 * result.frames
    assert 0 < result.peak_mb < 500
    assert result.later[0]["step"]["cpu_s"] > 0


def test_a_process_that_fails_says_why():
    with pytest.raises(ArmError, match=r"(?s)'shared' failed.*prompt=11 is too short"):
        measure_arm("shared", tiny_case("prompt=11"))
