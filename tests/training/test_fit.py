"""A run that was stopped and started again ends with the same bits as an undisturbed one."""

import pytest
import torch

from o3v.training import fit as fit_module
from o3v.training.module import GroundingModule
from tests.training.runs import LIGHTNING, Session, StopAfter, Stopped, settings_of


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def stopped_at(stop, folder, **options):
    with pytest.raises(Stopped):
        Session(folder, **options).fit(StopAfter(stop))


@pytest.fixture(scope="module", params=["sft", "gspo"])
def whole(request, tmp_path_factory):
    return Session(tmp_path_factory.mktemp("whole"), objective=request.param).fit()


@pytest.mark.parametrize("batches", [1, 3, 4, 6])
def test_a_stopped_run_goes_on_to_the_same_bits(whole, tmp_path, batches):
    """Before the first state, in the middle of an epoch, right at a state, near the end."""
    stopped_at(batches, tmp_path, objective=whole.objective)
    again = Session(tmp_path, objective=whole.objective).fit()
    assert same(again.weights, whole.weights)
    first = (
        batches // 2 * 2 if batches % 2 else batches - 2
    )  # at an even batch the stop comes before its state is saved
    assert list(again.recorder.metrics) == list(range(first, 7))
    assert again.recorder.metrics == {k: whole.recorder.metrics[k] for k in again.recorder.metrics}
    assert again.recorder.samples == {k: whole.recorder.samples[k] for k in again.recorder.samples}


def test_a_run_stopped_twice(whole, tmp_path):
    stopped_at(3, tmp_path, objective=whole.objective)
    stopped_at(5, tmp_path, objective=whole.objective)
    assert same(Session(tmp_path, objective=whole.objective).fit().weights, whole.weights)


def test_training_moves_the_weights(whole, tmp_path):
    assert not same(whole.weights, Session(tmp_path).weights)


@pytest.mark.parametrize("workers", [1, 2])
def test_loader_workers_change_nothing(whole, tmp_path, workers):
    stopped_at(3, tmp_path, objective=whole.objective, num_workers=workers)
    again = Session(tmp_path, objective=whole.objective, num_workers=workers).fit()
    assert same(again.weights, whole.weights)


def test_the_other_family(tmp_path):
    options = {"family": "qwen3_vl", "batches": 4, "objective": "gspo"}
    undisturbed = Session(tmp_path / "a", **options).fit()
    stopped_at(3, tmp_path / "b", **options)
    assert same(Session(tmp_path / "b", **options).fit().weights, undisturbed.weights)


def test_a_run_with_nothing_left_only_loads(whole, tmp_path):
    done = Session(tmp_path, batches=3).fit()
    again = Session(tmp_path, batches=3).fit()
    assert same(again.weights, done.weights)
    assert again.recorder.metrics == {}


# ---- wrong versions are caught


def from_the_start(state):
    return 0


def one_too_far(state, right=fit_module._batches_done):
    return right(state) + 1


@pytest.mark.parametrize("wrong", [from_the_start, one_too_far])
def test_a_loader_that_starts_elsewhere_is_caught(whole, tmp_path, wrong, monkeypatch):
    stopped_at(3, tmp_path, objective=whole.objective)
    monkeypatch.setattr(fit_module, "_batches_done", wrong)
    assert not same(Session(tmp_path, objective=whole.objective).fit().weights, whole.weights)


def test_a_run_that_forgets_its_position_is_caught(whole, tmp_path, monkeypatch):
    stopped_at(3, tmp_path, objective=whole.objective)
    monkeypatch.setattr(GroundingModule, "on_load_checkpoint", lambda self, checkpoint: None)
    assert not same(Session(tmp_path, objective=whole.objective).fit().weights, whole.weights)


def test_forgotten_optimizer_state_is_caught(whole, tmp_path, monkeypatch):
    stopped_at(3, tmp_path, objective=whole.objective)
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)
    state["optimizer_states"][0]["state"] = {}
    torch.save(state, tmp_path / "last.ckpt")
    assert not same(Session(tmp_path, objective=whole.objective).fit().weights, whole.weights)


# ---- length of a run


def settings(**changes):
    return settings_of(**{"batches": None, "prompts_per_device": 4} | changes)


@pytest.mark.parametrize(
    ("changes", "batches"),
    [
        ({}, 25),
        ({"epochs": 2.5}, 62),
        ({"batches": 7}, 7),
        ({"epochs": 0.001}, 1),
        ({"lightning": LIGHTNING | {"devices": 2, "num_nodes": 2}}, 6),
    ],
)
def test_batches_of_a_run(changes, batches):
    assert settings(**changes).total_batches(100) == batches


def test_going_on_is_no_reason_for_a_warning(tmp_path, recwarn):
    stopped_at(3, tmp_path, batches=4)
    recwarn.clear()
    Session(tmp_path, batches=4).fit()
    assert [str(warning.message) for warning in recwarn if warning.category is UserWarning] == []


@pytest.mark.parametrize(
    ("environment", "rank"),
    [
        ({}, 0),  # the process that Lightning's launcher starts from
        ({"RANK": "3", "LOCAL_RANK": "1"}, 3),  # torchrun
        ({"LOCAL_RANK": "1", "NODE_RANK": "0"}, 1),  # Lightning's launcher
        ({"LOCAL_RANK": "1", "NODE_RANK": "1"}, 3),
        ({"SLURM_PROCID": "2"}, 2),
    ],
)
def test_rank_of_a_process(environment, rank, monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert settings(lightning=LIGHTNING | {"devices": 2, "num_nodes": 2}).rank == rank
    assert settings().rank == 0  # one process is the first, whatever a cluster's shell has set
