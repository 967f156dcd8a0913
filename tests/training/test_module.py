"""The module around a step: learning rate, optimizer, clipping, what a checkpoint holds."""

import math
from dataclasses import replace

import pytest
import torch

from o3v.errors import ConfigError
from o3v.training.module import GroundingModule, Optimization
from tests import tiny
from tests.training.runs import OBJECTIVES, Recorder, Session
from tests.training.steps import GSPO, LengthReward, learner_of

BASE = Optimization(1e-3, [0.9, 0.98], 0.1, 1.0, "cosine", 0.2, 0.1)
KL = replace(GSPO, kl_coef=0.04)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [0.0, 0.5, 1.0, 1.0, 1.0]),
        ("linear", [0.0, 0.5, 1.0, 0.55, 0.1]),
        ("cosine", [0.0, 0.5, 1.0, 0.55, 0.1]),
    ],
)
def test_learning_rate(schedule, expected):
    found = [replace(BASE, schedule=schedule).lr_at(share) / BASE.lr for share in (0.0, 0.1, 0.2, 0.6, 1.0)]
    assert found == pytest.approx(expected)


def test_no_warmup_starts_at_the_peak():
    assert replace(BASE, warmup=0.0).lr_at(0.0) == BASE.lr


def test_unknown_schedule():
    with pytest.raises(ConfigError, match=r"optim.schedule='step'.*constant"):
        replace(BASE, schedule="step")


def test_vectors_are_not_decayed_and_frozen_weights_are_left_out(fresh_policy):
    fresh_policy.model.model.visual.requires_grad_(False)
    groups = BASE.build(fresh_policy.model).param_groups
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]
    assert all(p.ndim > 1 for p in groups[0]["params"]) and all(p.ndim <= 1 for p in groups[1]["params"])
    known = {id(p) for group in groups for p in group["params"]}
    assert known == {id(p) for p in fresh_policy.model.parameters() if p.requires_grad}


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    return Session(tmp_path_factory.mktemp("run"), batches=5, save_every=5).fit()


def test_the_learning_rate_of_each_batch_is_logged(session):
    expected = [Optimization(1e-3, [0.9, 0.98], 0.01, 1.0, "cosine", 0.2, 0.05).lr_at(k / 5) for k in range(5)]
    assert [session.recorder.metrics[k]["lr"] for k in range(5)] == pytest.approx(expected)


def test_a_state_holds_weights_optimizer_and_position(session):
    state = torch.load(session.folder / "last.ckpt", weights_only=True)
    place = state["o3v"]
    assert (place["batches_done"], place["total_batches"]) == (5, 5)
    assert place["stream"]["total_samples"] == 10
    assert len(state["optimizer_states"]) == 1
    assert state["state_dict"].keys() == session.module.state_dict().keys()


def test_the_reference_is_frozen_where_the_policy_is_and_not_saved():
    learner = learner_of(tiny.random_policy("qwen2_5_vl"), KL, reference=tiny.random_policy("qwen2_5_vl"))
    module = GroundingModule(learner, BASE, 2)
    assert not any("reference" in name for name in module.state_dict())
    assert len(list(module.parameters())) == len(list(learner.policy.model.parameters()))
    learner.reference.model.to(torch.bfloat16)
    moved = []
    learner.reference.model.to = moved.append
    module.on_fit_start()
    assert moved == [module.device]


def test_gradients_are_clipped_to_the_norm(tmp_path):
    norms = []

    class Watch(Recorder):
        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
            norms.append(float(torch.cat([g.flatten() for g in grads]).norm()))

    watch = Watch()
    Session(tmp_path, batches=2, save_every=9).fit(watch)
    assert norms and max(norms) <= 1.0 + 1e-4
    assert watch.metrics[0]["grad_norm"] > 1.0  # what is logged is the norm before clipping


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_reference_on_the_gpu(tmp_path, monkeypatch):
    from tests.training import runs

    monkeypatch.setitem(runs.OBJECTIVES, "gspo", KL)
    monkeypatch.setitem(runs.LIGHTNING, "accelerator", "gpu")
    session = Session(tmp_path, objective="gspo", batches=2)
    learner = replace(session.module._learner, reference=tiny.random_policy("qwen2_5_vl", 1.5))
    session.module._learner = learner
    session.fit()
    assert learner.reference.model.device.type == "cuda" and session.recorder.metrics[0]["kl"] < 1e-6


def test_a_process_joins_the_updates_that_others_make_more(tmp_path, monkeypatch):
    """The other process is played by the reduction that both take part in; two real ones: tests/test_processes.py."""
    from lightning.pytorch.strategies import SingleDeviceStrategy

    planned, losses = [], []

    def most(self, tensor, *_, reduce_op=None, **__):
        if reduce_op != "max" or not tensor.ndim:  # the progress bar's, and whether to stop
            return tensor
        planned.append(tensor.tolist())
        return torch.tensor([0, 2, 1]) if len(tensor) == 3 else tensor

    def counted(self, loss, is_last, right=GroundingModule._update):
        losses.append((float(loss.detach()), is_last))
        return right(self, loss, is_last)

    monkeypatch.setattr(SingleDeviceStrategy, "reduce", most)
    monkeypatch.setattr(GroundingModule, "_update", counted)
    monkeypatch.setitem(OBJECTIVES, "gspo", replace(GSPO, minibatches=1, updates_per_rollout=2))
    Session(tmp_path, objective="gspo", batches=1, save_every=9).fit()
    assert planned == [[1], [0, 1, 1]]  # kinds of media; passes for old log-probabilities, parts of each update
    assert [last for _, last in losses] == [False, True, True]
    assert [loss != 0.0 for loss, _ in losses] == [True, False, True]


def test_a_process_joins_updates_without_any_of_its_own(tmp_path, monkeypatch):
    from lightning.pytorch.strategies import SingleDeviceStrategy

    losses = []

    def most(self, tensor, *_, reduce_op=None, **__):
        return torch.tensor([1, 2, 1]) if reduce_op == "max" and tensor.ndim and len(tensor) == 3 else tensor

    def counted(self, loss, is_last, right=GroundingModule._update):
        losses.append((float(loss.detach()), is_last))
        return right(self, loss, is_last)

    monkeypatch.setattr(SingleDeviceStrategy, "reduce", most)
    monkeypatch.setattr(GroundingModule, "_update", counted)
    session = Session(tmp_path, objective="gspo", batches=1, save_every=9)
    object.__setattr__(session.module._learner, "rewards", LengthReward(flat=tuple(f"s{n}" for n in range(5))))
    session.fit()
    assert losses == [(0.0, False), (0.0, True), (0.0, True)]


def test_a_blank_part_has_a_zero_gradient_for_every_weight(fresh_policy):
    learner_of(fresh_policy).blank_loss(1).backward()
    assert all(p.grad is not None and not p.grad.any() for p in fresh_policy.model.parameters())


def test_a_blank_part_without_a_picture_leaves_the_tower_out(fresh_policy):
    learner_of(fresh_policy).blank_loss(0).backward()
    assert all(p.grad is None for p in fresh_policy.model.model.visual.parameters())


def test_an_update_that_is_not_finite_is_left_out_and_told(tmp_path, monkeypatch, caplog):
    def broken(self, loss, is_last, right=GroundingModule._update):
        return right(self, loss * (math.inf if self.batches_done == 1 else 1.0), is_last)

    monkeypatch.setattr(GroundingModule, "_update", broken)
    session = Session(tmp_path, batches=3, save_every=9).fit()
    assert all(bool(weight.isfinite().all()) for weight in session.weights.values())
    norms = [session.recorder.metrics[step]["grad_norm"] for step in range(3)]
    assert [math.isfinite(norm) for norm in norms] == [True, False, True] and "left out" in caplog.text
