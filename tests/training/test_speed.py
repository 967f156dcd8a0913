"""What every step says about its tokens, its speed and its memory."""

import time

import pytest
from lightning import Callback

from o3v.training import speed as module
from o3v.training.module import GroundingModule
from o3v.training.speed import Speed, memory
from o3v.training.step_size import Group, drawn_tokens, groups_of, how_of, model_work
from tests.training.runs import Session

BATCHES = 3


class After(Callback):
    """What a callback behind it would report."""

    def __init__(self):
        self.by_step = {}

    def on_train_batch_end(self, trainer, pl_module, *_):
        kinds = ("work/", "speed/", "memory/")
        found = {f"train/{name}": v for name, v in pl_module.step_metrics.items() if name.startswith(kinds)}
        self.by_step[pl_module.batches_done - 1] = found


class Groups(Callback):
    """Keeps every step's groups."""

    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if pl_module.experience is not None or batch.target_mask is not None:
            self.seen.append(groups_of(batch, pl_module.experience))


def fitted(folder, objective, peak=None):
    """The run's steps as told, their groups, and the learner."""
    session, told, groups = Session(folder, objective, batches=BATCHES), After(), Groups()
    learner = session.module._learner
    session.fit(Speed(learner, peak), told, groups)
    return told.by_step, groups.seen, learner


@pytest.fixture(scope="module", params=["sft", "gspo"])
def run(request, tmp_path_factory):
    start_s = time.perf_counter()
    return *fitted(tmp_path_factory.mktemp("run"), request.param, peak=0.5), time.perf_counter() - start_s


def test_every_step_tells_all(run):
    steps, groups, learner, _ = run
    names = {"work/tokens", "work/model_tflop", "speed/period_s", "speed/tokens_per_s", "speed/mfu"}
    names |= {"memory/host_mib", "memory/host_peak_mib"}
    if learner.objective.needs_rollout:
        names |= {"work/drawn_tokens", "speed/drawn_tokens_per_s"}
    assert sorted(steps) == list(range(BATCHES)) and len(groups) == BATCHES
    assert all(set(told) == {f"train/{name}" for name in names} for told in steps.values())


def test_tokens_are_those_of_the_step(run):
    steps, groups, learner, _ = run
    for told, seen in zip(steps.values(), groups, strict=True):
        tokens = sum(group.prompt + sum(group.completions) for group in seen if group.learns)
        assert told["train/work/tokens"] == tokens > 0
        if learner.objective.needs_rollout:
            assert told["train/work/drawn_tokens"] == drawn_tokens(seen)


def test_rates_are_over_the_whole_time_between_two_ends(run):
    steps, groups, learner, took_s = run
    for told, seen in zip(steps.values(), groups, strict=True):
        period_s = told["train/speed/period_s"]
        tflop = model_work(learner.policy.model.config, seen, how_of(learner, seen)).total / 1e12
        assert told["train/work/model_tflop"] == pytest.approx(tflop)
        assert told["train/speed/tokens_per_s"] == pytest.approx(told["train/work/tokens"] / period_s)
        assert told["train/speed/mfu"] == pytest.approx(tflop / period_s / 0.5)
        assert 0 < told["train/speed/mfu"] < 1
    assert 0 < sum(told["train/speed/period_s"] for told in steps.values()) < took_s


def test_without_a_peak_a_cpu_has_no_share_of_it(tmp_path):
    steps, _, _ = fitted(tmp_path, "sft")
    assert not any("mfu" in name for told in steps.values() for name in told)


def test_memory_of_this_process():
    import torch

    block = bytearray(64 * 2**20)
    found = memory(torch.device("cpu"))
    assert 64 < found["memory/host_mib"] <= found["memory/host_peak_mib"] < 2**20
    assert len(block) and set(found) == {"memory/host_mib", "memory/host_peak_mib"}


def test_a_period_that_leaves_out_waiting_is_caught(tmp_path, monkeypatch):
    """The second batch takes half a second to come; its step must have it."""
    session, told = Session(tmp_path, batches=2), After()
    prepare = session.loader.stream.prepare
    calls = []

    def slow(row):
        calls.append(row)
        time.sleep(0.5 if len(calls) == 3 else 0)  # two samples a batch
        return prepare(row)

    object.__setattr__(session.loader.stream, "prepare", slow)
    session.fit(Speed(session.module._learner, None), told)
    assert told.by_step[1]["train/speed/period_s"] > 0.5


def test_counting_flat_groups_is_caught(monkeypatch, tmp_path):
    flat = (Group(10, (3, 4), (), False), Group(7, (1, 1), (), True))
    monkeypatch.setattr(module, "groups_of", lambda batch, experience: flat)
    steps, _, _ = fitted(tmp_path, "gspo")
    assert steps[0]["train/work/tokens"] == 9 and steps[0]["train/work/drawn_tokens"] == 9


def test_a_step_whose_engine_has_failed_has_worked_through_nothing(tmp_path, monkeypatch):
    """It has no experience; with several processes they stop together right after this callback."""
    monkeypatch.setattr(GroundingModule, "_rl_step", lambda self, batch, progress: ({}, None))
    steps, _, _ = fitted(tmp_path, "gspo")
    assert all(told["train/work/tokens"] == 0 for told in steps.values())
