"""Batches and learners for tests of single steps, without a trainer."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from o3v.data.stream import Batch, Example
from o3v.models.prefix import join
from o3v.rollout.sampler import Sampling
from o3v.training.learner import Learner, PassSettings
from o3v.training.rl_step import collect, read
from o3v.types import KeyFrame, RewardTable, Sample, Task
from tests import tiny
from tests.objectives.made import objective

SAMPLING = Sampling(group_size=4, temperature=1.0, top_p=1.0, top_k=0, max_new_tokens=8, decoder="eager")
GSPO = objective(clip_low=3e-4, clip_high=4e-4, kl_coef=0.0, minibatches=1)

PASSES = PassSettings("kept", "split", None, "rollout")


def sample(number: int) -> Sample:
    """A row without media; what it asks for does not matter to a step."""
    keys = (KeyFrame(1.0, {"red circle": ((0.0, 0.0, 0.5, 0.5),)}, None),)
    return Sample(
        f"s{number}", "test", Task.TEMPORAL_SPATIAL, "?", "red circle", "", None, None, keys, None, None, None
    )


def batch_of(policy, prompts, index: int = 0) -> Batch:
    """A batch as the loader makes it."""
    ids, mask = policy.encode_targets([p.target for p in prompts])
    examples = tuple(Example(sample(n), prompt) for n, prompt in enumerate(prompts))
    return Batch(index, index, examples, policy.encode(prompts), ids, mask, ())


def configured(group: str, name: str):
    """An object as conf/GROUP/NAME.yaml describes it, with completions of 8 tokens."""
    with initialize_config_dir(str(tiny.CONF), version_base=None):
        composed = compose(overrides=[f"+{group}={name}", "+rollout.max_new_tokens=8"])
        return instantiate(composed[group], _convert_="all")


class LengthReward:
    """A reward that varies: the share of a text's letters below n, and 0 for the prompts listed as flat."""

    def __init__(self, flat: tuple[str, ...] = ()):
        self.flat = flat

    def __call__(self, completions, row, progress):
        values = [sum(c < "n" for c in done.text) / max(len(done.text), 1) for done in completions]
        totals = tuple(0.5 if row.id in self.flat else value for value in values)
        return RewardTable(("letters",), tuple((v,) for v in totals), (True,), totals, {"share": totals}, (1.0,))


def learner_of(policy, objective=GSPO, **changes) -> Learner:
    """A learner with a reward that differs inside every group."""
    return replace(Learner(policy, None, objective, LengthReward(), SAMPLING, 0, PASSES), **changes)


def collected(learner, batch: Batch, progress: float):
    """The experience of a batch, as `rl_step` makes it."""
    return collect(learner, batch, join([p.detach() for p in read(learner, batch.encoded)]), progress)


class Updater:
    """Stands for the trainer: collects the gradient of every update, and steps if it is given a learning rate."""

    def __init__(self, policy, lr: float = 0.0):
        self.model, self.lr = policy.model, lr
        self.losses, self.gradients = [], []
        self.parts = 0

    def __call__(self, loss, is_last: bool) -> float:
        loss.backward()
        self.parts += 1
        self.losses.append(float(loss.detach()))
        if not is_last:
            return math.nan
        weights = [p for p in self.model.parameters() if p.grad is not None]
        self.gradients.append(torch.cat([p.grad.flatten() for p in weights]))
        with torch.no_grad():
            for weight in weights:
                weight -= self.lr * weight.grad
        self.model.zero_grad()
        return float(self.gradients[-1].norm())


def relative(found, wanted) -> float:
    """Relative L2 distance."""
    return float((found - wanted).norm() / wanted.norm())


class LettersTerm:
    """A reward term under which random texts differ; for configurations (`reward.terms.letters._target_`)."""

    tasks = frozenset(Task)

    def __call__(self, completion, row, progress):
        return sum(c < "n" for c in completion.text) / max(len(completion.text), 1)


class StillsTerm(LettersTerm):
    """The same for still images only: groups of clips teach nothing, so processes of a run differ in their updates."""

    def __call__(self, completion, row, progress):
        return 0.5 if row.image_path is None else super().__call__(completion, row, progress)
