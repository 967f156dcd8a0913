"""A run whose engine dies or goes wrong: it stops with its state, and goes on to the same end."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

import pytest
import torch
from lightning import Callback

from o3v.errors import ParityError
from o3v.rollout.engine import EngineAway
from o3v.training.parity import ParityGuard
from o3v.training.state import NEWEST, read_place
from tests.rollout.engine_server import Liar, PolicyEngine, opened, served
from tests.training.runs import Session

BATCHES = 3


class CloseAfter(Callback):
    """The server goes away after so many batches."""

    def __init__(self, stack: ExitStack, batches: int):
        self._stack, self._batches = stack, batches

    def on_train_batch_end(self, trainer, pl_module, *_):
        if pl_module.batches_done == self._batches:
            self._stack.close()


def session(folder, engine) -> Session:
    made = Session(folder, "gspo", batches=BATCHES, save_every=100)
    learner = made.module._learner
    made.module._learner = replace(learner, engine=engine, passes=replace(learner.passes, old_logprobs="recompute"))
    return made


def test_a_run_stops_with_its_state_and_goes_on(tmp_path):
    whole = session(tmp_path / "own", None).fit().weights
    engine = opened
    with ExitStack() as stack:
        url = stack.enter_context(served(PolicyEngine(), tmp_path))
        with pytest.raises(EngineAway, match=url):
            session(tmp_path / "states", engine(url, tmp_path)).fit(CloseAfter(stack, 2))
    assert read_place(tmp_path / "states" / NEWEST)["batches_done"] == 2
    second = PolicyEngine()
    with served(second, tmp_path) as url:
        ended = session(tmp_path / "states", engine(url, tmp_path)).fit().weights
    assert second.loads == ["run/2"], "only the batch that was left is drawn"
    assert all(torch.allclose(ended[name], whole[name], atol=1e-5) for name in whole)


def test_a_server_that_comes_back_is_not_noticed_in_the_weights(tmp_path):
    whole = session(tmp_path / "own", None).fit().weights

    class Forgets(PolicyEngine):
        """As if it had been started again between two batches."""

        def draw(self, asks, rules, version):
            reply = super().draw(asks, rules, version)
            self.held, self.policy = None, None
            return reply

    with served(Forgets(), tmp_path) as url:
        ended = session(tmp_path / "states", opened(url, tmp_path)).fit().weights
    assert all(torch.allclose(ended[name], whole[name], atol=1e-5) for name in whole)


def test_an_engine_that_drifts_ends_the_run(tmp_path):
    with served(Liar(), tmp_path) as url:
        made = session(tmp_path / "states", opened(url, tmp_path, max_gap=1e-6))
        with pytest.raises(ParityError, match=r"engine\.max_gap"):
            made.fit()
    assert not (tmp_path / "states" / NEWEST).exists(), "nothing that was learned from it is kept"


def test_the_guard_and_the_first_batch_share_the_weights(tmp_path):
    engine = PolicyEngine()
    with served(engine, tmp_path) as url:
        made = session(tmp_path / "states", opened(url, tmp_path))
        learner = made.module._learner

        def score(policy, prompts, ids, mask):
            return replace(learner, policy=policy).scores(prompts, ids, mask).logprobs

        made.fit(ParityGuard(learner, score, 1, {"float32": 1e-3}))
    assert engine.loads == ["run/0", "run/1", "run/2"]
    assert not (tmp_path / "run").exists(), "the last weights are cleared away"
