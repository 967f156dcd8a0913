"""Do the rollout and the training pass mean the same policy? Looked at before the first update of an RL run.

Both compute log-probabilities of the same tokens, the rollout token by token from a cache, training in one pass over
whole completions. If they disagree (a wrong position, another temperature, a kernel that is not exact enough), every
ratio of the objective is wrong and training drifts without an error. So a few prompts of the first batch are sampled
with seeds of their own, scored as training scores, and compared token by token; then they are thrown away.

Nothing of the run depends on it: no gradients, no weights changed, no random state used or moved.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from o3v.data.stream import Batch
from o3v.errors import ConfigError, ParityError
from o3v.models.entry import through
from o3v.models.policy import Encoded, Policy
from o3v.rollout.sampler import Sampling, sample_completions
from o3v.training.learner import Learner
from o3v.training.module import GroundingModule
from o3v.training.peers import ALONE, Peers
from o3v.types import Rollout

log = logging.getLogger(__name__)

Score = Callable[[Policy, Encoded, Tensor, Tensor], Tensor]
"""(policy, B prompts, ids [B*G, L], mask [B*G, L]) -> log-probabilities [B*G, L], 0 where masked, as training has."""

_PEAK = 20.0  # one token may differ by so many times the tolerance of the mean
_GROUP = 2  # completions a prompt: of different length, so that padding is compared too
_TOKENS = 64  # longest completion that is compared
_SEED = 1 << 40  # seeds of its own, beyond those of the first batches of run 0


@dataclass(frozen=True)
class ParityReport:
    """How far rollout and training are apart.

    Attributes:
        prompts: prompts that were compared.
        tokens: drawn tokens, all of them scored.
        max_abs: largest difference of a token, nats.
        mean_abs: mean difference over all tokens, nats.
    """

    prompts: int
    tokens: int
    max_abs: float
    mean_abs: float

    def metrics(self) -> dict[str, float]:
        """Under the names in which they are logged."""
        return {"parity/max_abs": self.max_abs, "parity/mean_abs": self.mean_abs}


def check_parity(
    learner: Learner, batch: Batch, score: Score, prompts: int, tolerance: float, peers: Peers = ALONE
) -> ParityReport:
    """Compare log-probabilities and token counts of rollout and training on the first prompts of a batch.

    Args:
        learner: whose policy and sampling.
        batch: a batch with prompts.
        score: the training pass.
        prompts: how many prompts, at most those of the batch.
        tolerance: nats; the mean absolute difference over a prompt's tokens may be this, a single token's 20 times it.
        peers: the other processes of the run, which compare prompts of their own.

    Raises:
        ParityError: names the first prompt that differs, the token, and both values.
    """
    assert batch.encoded is not None and learner.sampling is not None
    rows = list(range(min(prompts, len(batch.examples))))
    encoded = batch.encoded.select(rows).to(learner.policy.device)
    (passes,) = peers.most([encoded.vision_passes])
    encoded = replace(encoded, agreed_passes=passes)
    sampling = learner.sampling
    short = replace(
        sampling,
        group_size=min(sampling.group_size, _GROUP),
        max_new_tokens=min(sampling.max_new_tokens, _TOKENS),
    )
    state = None if learner.engine is None else peers.state()
    with peers.gathered():
        rollout = _drawn(learner, batch, rows, encoded, short, state)
    with torch.no_grad(), _training(learner.policy):
        scores = score(learner.policy, encoded, rollout.ids, rollout.completion_mask).float()
    names = [example.sample.id if example.sample else f"number {row}" for row, example in enumerate(batch.examples)]
    return _compared(rollout, scores, names, learner.policy, tolerance)


def _drawn(
    learner: Learner,
    batch: Batch,
    rows: list[int],
    encoded: Encoded,
    sampling: Sampling,
    state: Mapping[str, Tensor] | None,
) -> Rollout:
    """Completions as the run draws them; an engine's from the whole distribution, of which training scores."""
    seeds = [_SEED + k for k in range(len(rows) * sampling.group_size)]
    if learner.engine is None:
        return through(learner.policy, None, partial(sample_completions, learner.policy, encoded, sampling, seeds))
    engine, whole = learner.engine.sampler, replace(sampling, top_p=1.0, top_k=0)
    engine.follow(learner.policy, batch.index, state)
    prompts = [batch.examples[row].prompt for row in rows]
    return engine.sample(learner.policy, prompts, encoded, whole, seeds)


def tolerance_for(policy: Policy, tolerances: Mapping[str, float]) -> float:
    """The tolerance for the numbers in which the policy computes: autocast's, else those of its weights.

    Raises:
        ConfigError: none is given for them.
    """
    kind = policy.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else policy.model.dtype
    name = str(dtype).removeprefix("torch.")
    if name not in tolerances:
        raise ConfigError(f"trainer.parity_tolerance has no value for {name}; it has {sorted(tolerances)}")
    return tolerances[name]


class ParityGuard(Callback):
    """Looks at the first batch that a run, or its continuation, trains on; stops the run if the two disagree.

    Its numbers are metrics of a run's first batch. A continued run only logs them, so that its metrics are those of an
    undisturbed one.

    Args:
        learner: whose policy is looked at.
        score: the training pass.
        prompts: how many prompts.
        tolerances: name of a number type -> nats, see `check_parity`.
    """

    def __init__(self, learner: Learner, score: Score, prompts: int, tolerances: Mapping[str, float]) -> None:
        self._learner = learner
        self._score = score
        self._prompts = prompts
        self._tolerances = tolerances
        self._is_done = False
        self._metrics: dict[str, float] = {}

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int) -> None:
        """Compares, in the numbers in which the step itself computes."""
        assert isinstance(pl_module, GroundingModule)
        if self._is_done or pl_module.peers.most([int(batch.encoded is None)]) != [0]:
            return
        with trainer.strategy.precision_plugin.train_step_context():
            tolerance = tolerance_for(self._learner.policy, self._tolerances)
            report = check_parity(self._learner, batch, self._score, self._prompts, tolerance, pl_module.peers)
        self._is_done = True
        self._metrics = report.metrics() if pl_module.batches_done == 0 else {}
        log.info(
            "rollout and training agree on %d tokens of %d prompts: %.1e nats apart on average, %.1e at most",
            report.tokens,
            report.prompts,
            report.mean_abs,
            report.max_abs,
        )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Adds its numbers to what the step measured; must come before the callback that reports them."""
        assert isinstance(pl_module, GroundingModule)
        pl_module.step_metrics |= self._metrics
        self._metrics = {}


@contextmanager
def _training(policy: Policy) -> Iterator[None]:
    """Training mode, in which the step scores."""
    was_training = policy.model.training
    policy.model.train()
    try:
        yield
    finally:
        policy.model.train(was_training)


def _compared(rollout: Rollout, scores: Tensor, names: list[str], policy: Policy, tolerance: float) -> ParityReport:
    mask = rollout.completion_mask
    drawn = int(mask.sum())
    if scores.shape != mask.shape:
        raise ParityError(
            f"sample {names[0]}: the rollout drew {drawn} tokens in rows of {mask.shape[1]}, the training pass scores "
            f"rows of {scores.shape[-1]} ({tuple(scores.shape)} for {tuple(mask.shape)})"
        )
    for row in range(len(mask)):
        place = f"sample {names[row // rollout.group_size]}, completion {row % rollout.group_size}"
        _check_count(place, mask[row], scores[row], rollout.logprobs[row], tolerance)
    apart = (scores - rollout.logprobs).abs().nan_to_num(nan=math.inf) * mask
    for first in range(0, len(mask), rollout.group_size):
        group = slice(first, first + rollout.group_size)
        values = apart[group][mask[group]]
        if float(values.mean()) > tolerance or float(values.max()) > _PEAK * tolerance:
            raise ParityError(_told(rollout, scores, apart, first, names, policy, tolerance))
    return ParityReport(len(mask) // rollout.group_size, drawn, float(apart.max()), float(apart.sum()) / drawn)


def _check_count(place: str, mask: Tensor, scores: Tensor, drawn: Tensor, tolerance: float) -> None:
    """Every drawn token has a score, and nothing else has; one that was certain may have a score of 0."""
    left_out = mask & (scores == 0) & (drawn.abs() > tolerance)
    too_many = ~mask & (scores != 0)
    if bool((left_out | too_many).any()):
        scored = int(mask.sum() - left_out.sum() + too_many.sum())
        first = int((left_out | too_many).nonzero()[0])
        raise ParityError(
            f"{place}: the rollout drew {int(mask.sum())} tokens, the training pass scores {scored}; the first that "
            f"only one of them has is at position {first}"
        )


def _told(
    rollout: Rollout, scores: Tensor, apart: Tensor, first: int, names: list[str], policy: Policy, tolerance: float
) -> str:
    """What differs in a prompt's group of rows, and what may be done."""
    group = apart[first : first + rollout.group_size]
    offset, position = (int(k) for k in (group > tolerance).nonzero()[0])
    row = first + offset
    mask = rollout.completion_mask[first : first + rollout.group_size]
    token = policy.processor.tokenizer.decode([int(rollout.ids[row, position])])
    return (
        f"sample {names[first // rollout.group_size]}, completion {offset}, position {position} (token {token!r}): the "
        f"rollout drew it with log-probability {float(rollout.logprobs[row, position]):.6f}, the training pass gives "
        f"{float(scores[row, position]):.6f}. Over the prompt's {int(mask.sum())} tokens they are "
        f"{float(group[mask].mean()):.2g} nats apart on average and {float(group.max()):.2g} at most; allowed are "
        f"{tolerance:g} and {_PEAK * tolerance:g} (trainer.parity_tolerance). The policy that samples is not the one "
        "that learns: try trainer.prompt_pass=dense or model.attention=eager, and see which agrees"
    )
