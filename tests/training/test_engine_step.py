"""An RL step whose completions an engine outside draws: equal to the own one, and what is wrong with it is caught."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from o3v.errors import ParityError
from o3v.objectives.correction import Correction
from o3v.training.parity import check_parity
from o3v.training.rl_step import rl_step
from tests import tiny
from tests.rollout.engine_server import Liar, Noisy, OtherTemperature, PolicyEngine, StaleVision, opened, served
from tests.training.steps import GSPO, PASSES, LengthReward, Updater, batch_of, learner_of, relative

RECOMPUTE = replace(PASSES, old_logprobs="recompute")


def prompts_of(policy):
    return [tiny.clip_prompt(policy, 3, 1), tiny.still_prompt(policy, 2)]


def steps(engine_of, family="qwen2_5_vl", count=2, lr=0.05, objective=GSPO, **changes):
    """Metrics and losses of some steps, each with the weights that the one before left."""
    policy = tiny.random_policy(family)
    learner = learner_of(policy, objective, passes=RECOMPUTE, engine=engine_of(), **changes)
    update, found, texts = Updater(policy, lr), [], []
    for index in range(count):
        metrics, experience = rl_step(learner, batch_of(policy, prompts_of(policy), index), 0.5, update)
        found.append(metrics)
        texts.append(experience.rollout.texts)
    return found, texts, update


@pytest.mark.parametrize("family", tiny.FAMILIES)
@pytest.mark.parametrize("level", ["none", "token"])
def test_a_run_through_the_engine_is_the_run_without(family, level, tmp_path):
    wanted, texts, own = steps(lambda: None, family)
    with served(PolicyEngine(family), tmp_path) as url:
        correction = Correction(level, "truncate", 2.0)
        found, same, other = steps(lambda: opened(url, tmp_path, correction=correction), family)
    assert same == texts
    assert other.losses == pytest.approx(own.losses, abs=1e-5)
    for ours, theirs in zip(own.gradients, other.gradients, strict=True):
        assert relative(theirs, ours) < 1e-4
    for ours, theirs in zip(wanted, found, strict=True):
        assert {name: theirs[name] for name in ours} == pytest.approx(ours, rel=1e-4, abs=1e-5)
        assert theirs["rollout/engine_gap"] < 1e-5
        assert set(theirs) - set(ours) == {name for name in theirs if name.startswith("rollout/")}


def test_several_updates_keep_old_log_probabilities_of_training(tmp_path):
    objective = replace(GSPO, updates_per_rollout=2, minibatches=2, clip_low=0.2, clip_high=0.2)
    _, _, own = steps(lambda: None, objective=objective)
    with served(PolicyEngine(), tmp_path) as url:
        found, _, other = steps(lambda: opened(url, tmp_path), objective=objective)
    assert other.losses == pytest.approx(own.losses, abs=1e-5)
    assert found[0]["rollout/engine_gap"] < 1e-5, "the gap is to the policy that drew, not to the updated one"


def test_flat_groups_are_drawn_again_by_the_engine(tmp_path):
    changes = {"objective": replace(GSPO, resample_flat=2), "rewards": LengthReward(flat=("s0",)), "count": 1}
    wanted, texts, _ = steps(lambda: None, **changes)
    engine = PolicyEngine()
    with served(engine, tmp_path) as url:
        _, same, _ = steps(lambda: opened(url, tmp_path), **changes)
    assert wanted[0]["resampled"] == 2
    assert same == texts
    assert engine.draws == 3


def test_an_engines_noise_is_corrected_and_told(tmp_path):
    with served(Noisy(), tmp_path) as url:
        _, _, plain = steps(lambda: opened(url, tmp_path), count=1)
        correction = Correction("token", "truncate", 1.04)
        found, _, other = steps(lambda: opened(url, tmp_path, correction=correction), count=1)
    assert found[0]["rollout/engine_gap"] == pytest.approx(Noisy.noise, rel=0.1)
    assert 0 < found[0]["rollout/kl_engine"] < 0.01
    assert 0.2 < found[0]["rollout/truncated"] < 0.8, "e^0.05 is beyond the cap"
    assert relative(other.gradients[0], plain.gradients[0]) > 1e-3


@pytest.mark.parametrize("wrong", [Liar, StaleVision])
def test_old_weights_behind_a_new_version_open_a_gap(wrong, tmp_path):
    with served(PolicyEngine(), tmp_path / "right") as url:
        right, _, _ = steps(lambda: opened(url, tmp_path / "right"), lr=0.5)
    with served(wrong(), tmp_path / "wrong") as url:
        found, _, _ = steps(lambda: opened(url, tmp_path / "wrong"), lr=0.5)
    assert max(step["rollout/engine_gap"] for step in right) < 1e-4
    assert found[0]["rollout/engine_gap"] < 1e-5
    assert found[1]["rollout/engine_gap"] > 1e-3


def test_a_batch_that_cannot_be_read_still_brings_the_weights(tmp_path):
    """Other processes of the run may have prompts, and wait for them."""
    policy, engine = tiny.random_policy("qwen2_5_vl"), PolicyEngine()
    with served(engine, tmp_path) as url:
        learner = learner_of(policy, passes=RECOMPUTE, engine=opened(url, tmp_path))
        empty = replace(batch_of(policy, prompts_of(policy)), examples=(), encoded=None)
        assert rl_step(learner, empty, 0.5, Updater(policy)) == ({}, None)
    assert engine.loads == ["run/0"]


def parity(engine, folder: Path):
    policy = tiny.random_policy("qwen2_5_vl")
    with served(engine, folder) as url:
        learner = learner_of(policy, passes=RECOMPUTE, engine=opened(url, folder))

        def score(policy, prompts, ids, mask):
            return replace(learner, policy=policy).scores(prompts, ids, mask).logprobs

        return check_parity(learner, batch_of(policy, prompts_of(policy)), score, 2, 1e-3)


def test_the_guard_looks_at_the_engine(tmp_path):
    report = parity(PolicyEngine(), tmp_path)
    assert report.prompts == 2
    assert report.max_abs < 1e-4


@pytest.mark.parametrize("wrong", [OtherTemperature, Noisy])
def test_the_guard_catches_other_log_probabilities(wrong, tmp_path):
    with pytest.raises(ParityError, match=r"the rollout drew it with log-probability"):
        parity(wrong(), tmp_path)


def test_an_adapter_is_built_into_the_engines_weights(tmp_path):
    from o3v.models.lora import add_adapter
    from tests.models.test_lora import SETTINGS  # the settings that the adapter's own tests use

    policy = tiny.random_policy("qwen2_5_vl")
    add_adapter(policy, SETTINGS)
    with torch.no_grad():
        for name, weight in policy.model.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.2, generator=torch.Generator().manual_seed(len(name)))
    with served(PolicyEngine(), tmp_path) as url:
        learner = learner_of(policy, passes=RECOMPUTE, engine=opened(url, tmp_path))
        metrics, _ = rl_step(learner, batch_of(policy, prompts_of(policy)), 0.5, Updater(policy))
    assert metrics["rollout/engine_gap"] < 1e-4
