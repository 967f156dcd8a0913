"""The LightningModule: one training step for every objective, and the state that a resumed run needs."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lightning import LightningModule
from lightning.pytorch.strategies import Strategy
from torch import Tensor

from o3v.data.schedule import Schedule
from o3v.data.stream import Batch, Stream
from o3v.errors import ParityError, ServiceError, UserError
from o3v.training.layouts import COPIES, Layout
from o3v.training.learner import Learner
from o3v.training.peers import Peers, TrainerPeers, mean_metrics
from o3v.training.rl_step import Experience, rl_step
from o3v.training.sft_step import sft_step

_SCHEDULES = ("constant", "linear", "cosine")


@dataclass(frozen=True)
class Optimization:
    """Optimizer and learning-rate schedule (root key `optim`).

    Attributes:
        lr: peak learning rate.
        betas: of AdamW.
        weight_decay: of AdamW, on matrices only.
        max_grad_norm: gradients are scaled down to this norm.
        schedule: constant, linear or cosine decay to `final_lr_share` over the run's batches.
        warmup: share of the run with a linear rise from 0.
        final_lr_share: learning rate at the end, as a share of `lr`.
    """

    lr: float
    betas: tuple[float, float] | list[float]
    weight_decay: float
    max_grad_norm: float
    schedule: str
    warmup: float
    final_lr_share: float

    def __post_init__(self) -> None:
        if self.schedule not in _SCHEDULES:
            from o3v.errors import ConfigError

            raise ConfigError(f"optim.schedule={self.schedule!r} is not allowed; allowed are {list(_SCHEDULES)}")

    def lr_at(self, progress: float) -> float:
        """Learning rate at a share of the run.

        >>> o = Optimization(1.0, (0.9, 0.999), 0.0, 1.0, "linear", 0.5, 0.0)
        >>> [o.lr_at(p) for p in (0.0, 0.25, 0.5, 0.75)]
        [0.0, 0.5, 1.0, 0.5]
        """
        if progress < self.warmup:
            return self.lr * progress / self.warmup
        done = (progress - self.warmup) / max(1e-9, 1 - self.warmup)
        shape = {"constant": 1.0, "linear": 1 - done, "cosine": 0.5 * (1 + math.cos(math.pi * done))}[self.schedule]
        return self.lr * (self.final_lr_share + (1 - self.final_lr_share) * shape)

    def build(self, model: torch.nn.Module) -> torch.optim.Optimizer:
        """AdamW over the trainable weights; vectors (norms, biases) are not decayed."""
        trainable = [p for p in model.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in trainable if p.ndim > 1], "weight_decay": self.weight_decay},
            {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW([g for g in groups if g["params"]], lr=self.lr, betas=(self.betas[0], self.betas[1]))


def seed_draws(seed: int, number: int) -> None:
    """Make the global random states a function of the batch, so that none of them has to be saved.

    The project's own draws have generators of their own; this is for those of others: a reward term's, a model's.
    """
    mixed = (seed * 1_000_003 + number) % 2**32
    random.seed(mixed)
    np.random.seed(mixed)  # noqa: NPY002 - the state that other code shares
    torch.manual_seed(mixed)


def _engine_failure(learner: Learner, metrics: dict[str, float]) -> ParityError | None:
    """What is wrong where an engine's log-probabilities have come to be far from those of training."""
    gap = metrics.get("rollout/engine_gap", 0.0)
    if learner.engine is None or gap <= learner.engine.max_gap:
        return None
    return ParityError(
        f"{learner.engine.sampler.place}: its log-probabilities are {gap:.3g} nats from those of training on average, "
        f"allowed are {learner.engine.max_gap:g} (engine.max_gap). It draws with other weights, or with embeddings of "
        "pictures that older weights computed; the last saved state is from before this step"
    )


class GroundingModule(LightningModule):
    """Wraps the vision-language model and applies its objective, SFT or policy.

    A training step is one batch of prompts. With a policy objective it is one rollout with all its updates, so between
    steps there is no rollout to save, and a checkpoint at a step's end is complete.

    Attributes:
        batches_done: batches trained on in the whole run, over all its restarts; the number under which metrics are
            logged and the position from which a resumed run reads data.
        experience: the last judged rollout, for tables and pictures.
        step_metrics: what the last step measured.
        failure: what this process cannot go on with; all processes stop at the step's end, see `Boundary`.
    """

    def __init__(
        self, learner: Learner, optimization: Optimization, total_batches: int, layout: Layout = COPIES
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model = learner.policy.model
        self.batches_done = 0
        self.experience: Experience | None = None
        self.step_metrics: dict[str, float] = {}
        self.failure: UserError | None = None
        self._learner = learner
        self._optimization = optimization
        self._layout = layout
        self._schedule = Schedule.even(1, total_batches)
        self._stream_state: dict[str, Any] = {}
        self._is_laid_out = False

    def follow(self, stream: Stream) -> None:
        """Count progress as these batches do, and keep in every state how they go on."""
        self._schedule, self._stream_state = stream.schedule, stream.state()

    def strategy(self, lightning: Mapping[str, Any]) -> Strategy | str:
        """What a trainer of this module is given, beside its other keywords."""
        dtype = str(self.model.dtype).removeprefix("torch.")
        return self._layout.strategy(lightning, self._optimization.max_grad_norm, dtype)

    def training_step(self, batch: Batch, _: int) -> None:
        """One batch: `sft_step` or `rl_step`, as the objective says."""
        seed_draws(self._learner.seed, batch.number)
        self.model.train()  # loaded in evaluation mode, in which gradient checkpointing would not act
        self._set_lr(self._schedule.progress(self.batches_done))
        progress = self._schedule.progress(self.batches_done + 1)
        if self._learner.objective.needs_rollout:
            metrics, self.experience = self._rl_step(batch, progress)
        else:
            metrics = sft_step(self._learner, batch, self._update, self.peers)
        metrics = mean_metrics(metrics)
        self.step_metrics = metrics | {"lr": self.optimizers().param_groups[0]["lr"]}  # type: ignore[union-attr]
        self.batches_done += 1
        self._show(metrics)

    def _rl_step(self, batch: Batch, progress: float) -> tuple[dict[str, float], Experience | None]:
        """`rl_step`; where an engine fails one of several processes, all stop together at the step's end.

        A single process just stops: nothing of the step has changed anything, see `Boundary.on_exception`.
        """
        try:
            metrics, experience = rl_step(self._learner, batch, progress, self._update, self.peers)
        except ServiceError as error:
            if self.trainer.world_size == 1:
                raise
            self.failure = error
            return {}, None
        self.failure = _engine_failure(self._learner, metrics) or self.failure
        return metrics, experience

    def configure_model(self) -> None:
        """Spreads the weights over the processes where the layout does; called once they know each other."""
        if not self._is_laid_out:
            self._is_laid_out = True
            self._layout.shard(self, self._learner)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The configured optimizer; its learning rate is set before every step from the run's progress."""
        return self._optimization.build(self.model)

    def on_fit_start(self) -> None:
        """The reference goes where the policy is."""
        self._learner.check_device(self.device.type)
        self._layout.start(self, self._learner)

    def on_fit_end(self) -> None:
        """Removes the weights that were written for an engine outside."""
        if self._learner.engine is not None:
            self._learner.engine.sampler.close()

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Batches stay where they are; steps move what they compute on."""
        return batch

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the position in the run."""
        checkpoint["o3v"] = self.place()

    def place(self) -> dict[str, Any]:
        """Where in the run it stands."""
        place = {"batches_done": self.batches_done, "total_batches": self._schedule.batches}
        return place | {"stream": self._stream_state}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restores the position in the run."""
        self.batches_done = checkpoint["o3v"]["batches_done"]

    @property
    def peers(self) -> Peers:
        """The processes of its trainer."""
        return TrainerPeers(self, self._layout)

    def _set_lr(self, progress: float) -> None:
        for group in self.optimizers().param_groups:  # type: ignore[union-attr]
            group["lr"] = self._optimization.lr_at(progress)

    def _update(self, loss: Tensor, is_last: bool) -> float:
        return self._layout.update(self, loss, is_last, self._optimization.max_grad_norm)

    def _show(self, metrics: dict[str, float]) -> None:
        for name in ("loss", "reward"):
            if name in metrics:
                self.log(name, metrics[name], prog_bar=True, logger=False, batch_size=1)
