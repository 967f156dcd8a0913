"""The end of a step: a stop saves and leaves, a failure in one process ends all, wrong versions are caught."""

import os
import signal

import pytest
import torch
from lightning import Callback

from o3v.errors import DataError, PeerError
from o3v.stop import SIGNALS, Interrupted, catch_signals
from o3v.training import boundary, module
from o3v.training.boundary import TellProgress
from o3v.training.state import find_state, read_place
from tests.training.runs import Session
from tests.training.test_fit import same


class SignalAfter(Callback):
    """Sends a signal to this process during a batch."""

    def __init__(self, batches, number=signal.SIGUSR2):
        self._batches = batches
        self._number = number

    def on_train_batch_end(self, trainer, pl_module, *_):
        if pl_module.batches_done == self._batches:
            os.kill(os.getpid(), self._number)


@pytest.fixture(scope="module", params=["sft", "gspo"])
def whole(request, tmp_path_factory):
    return Session(tmp_path_factory.mktemp("whole"), objective=request.param).fit()


@pytest.fixture(autouse=True)
def caught():
    """Signals as in a job."""
    with catch_signals() as stop:
        yield stop


def again(whole, folder, caught):
    """The next start of the job."""
    caught.level = 0
    return Session(folder, objective=whole.objective).fit()


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("batches", [1, 2, 5])
def test_a_signal_saves_after_the_batch_and_leaves(whole, tmp_path, batches, number, caught):
    with pytest.raises(Interrupted, match=f"batch {batches} of 7; the same command"):
        Session(tmp_path, objective=whole.objective).fit(SignalAfter(batches, number))
    assert read_place(find_state(tmp_path))["batches_done"] == batches
    rest = again(whole, tmp_path, caught)
    assert list(rest.recorder.metrics) == list(range(batches, 7))
    assert same(rest.weights, whole.weights)
    assert rest.recorder.metrics == {k: whole.recorder.metrics[k] for k in rest.recorder.metrics}


def test_a_signal_before_the_first_batch_stops_there(whole, tmp_path, caught):
    caught.level = 1
    with pytest.raises(Interrupted, match="batch 0 of 7"):
        Session(tmp_path, objective=whole.objective).fit()
    assert find_state(tmp_path) is None
    assert same(again(whole, tmp_path, caught).weights, whole.weights)


def test_a_signal_in_the_last_batch_lets_the_run_end(whole, tmp_path):
    ended = Session(tmp_path, objective=whole.objective).fit(SignalAfter(7))
    assert same(ended.weights, whole.weights)


def test_a_stop_saves_once(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(boundary, "save_state", lambda trainer, folder, place, io: saved.append(place["batches_done"]))
    with pytest.raises(Interrupted):
        Session(tmp_path).fit(SignalAfter(4))
    assert saved == [2, 4]


def test_progress_says_where_it_stopped(tmp_path):
    from tests.tracking.test_progress import read

    with pytest.raises(Interrupted):
        Session(tmp_path / "states").fit(SignalAfter(3), TellProgress(tmp_path))
    assert (read(tmp_path)["done"], read(tmp_path)["total"]) == (3, 7)


class FailIn(Callback):
    """What this process cannot go on with."""

    def on_train_batch_end(self, trainer, pl_module, *_):
        if pl_module.batches_done == 3:
            pl_module.failure = DataError("too many faults")


def test_an_error_of_this_process_is_raised_at_the_steps_end(tmp_path):
    with pytest.raises(DataError, match="too many faults"):
        Session(tmp_path).fit(FailIn())
    assert read_place(find_state(tmp_path))["batches_done"] == 2


def test_an_error_of_another_process_ends_this_one(tmp_path, monkeypatch):
    monkeypatch.setattr(boundary, "highest", lambda trainer, value: max(value, boundary._FAILED if value == 0 else 0))
    monkeypatch.setattr(boundary.Boundary, "on_train_start", lambda *_: None)
    with pytest.raises(PeerError, match="another process"):
        Session(tmp_path).fit()


def test_processes_that_have_read_different_states_do_not_train(tmp_path, monkeypatch):
    answers = iter([4, 0])  # the most, the least below zero
    monkeypatch.setattr(boundary, "highest", lambda trainer, value: next(answers))
    with pytest.raises(PeerError, match="states of batch 0 and of batch 4"):
        Session(tmp_path).fit()


# ---- draws from the global random states


class Noise(Callback):
    """A part of a step that draws from the states that all code shares."""

    def on_train_batch_start(self, trainer, pl_module, *_):
        right = pl_module._learner.objective.loss

        def noisy(*given, **named):
            output = right(*given, **named)
            scale = 1 + 0.1 * torch.rand(()) + 0.1 * float(module.random.random()) + 0.1 * module.np.random.rand()
            return module_replace(output, loss=output.loss * scale)

        object.__setattr__(pl_module._learner.objective, "loss", noisy)

    def on_train_batch_end(self, trainer, pl_module, *_):
        object.__delattr__(pl_module._learner.objective, "loss")


def module_replace(output, **changes):
    from dataclasses import replace

    return replace(output, **changes)


def noisy_ends(folder, caught):
    undisturbed = Session(folder / "whole").fit(Noise())
    with pytest.raises(Interrupted):
        Session(folder / "cut").fit(SignalAfter(3), Noise())
    caught.level = 0
    torch.rand(7)
    return undisturbed.weights, Session(folder / "cut").fit(Noise()).weights


def test_draws_of_others_are_repeated_too(tmp_path, caught):
    assert same(*noisy_ends(tmp_path, caught))


def test_a_module_that_does_not_set_the_random_states_is_caught(tmp_path, caught, monkeypatch):
    monkeypatch.setattr(module, "seed_draws", lambda seed, number: None)
    assert not same(*noisy_ends(tmp_path, caught))
