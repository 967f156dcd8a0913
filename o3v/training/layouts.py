"""How weights, gradients and optimizer lie in the processes of a run (conf/trainer, key `layout`)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Final, Protocol

import torch
from torch import Tensor

from o3v.errors import ConfigError

if TYPE_CHECKING:
    from lightning import LightningModule
    from lightning.pytorch.strategies import Strategy

    from o3v.training.learner import Learner


class Layout(Protocol):
    """One way of laying a model out over processes."""

    @property
    def shards_weights(self) -> bool:
        """No process has all weights, but for the time of a pass."""
        ...

    def strategy(self, lightning: Mapping[str, Any], max_grad_norm: float, dtype: str) -> Strategy | str:
        """What Lightning's trainer is given.

        Args:
            lightning: the other keywords of the trainer.
            max_grad_norm: to which gradients are scaled down.
            dtype: in which the model computes.
        """
        ...

    def shard(self, module: LightningModule, learner: Learner) -> None:
        """Spread the weights of policy and reference, once the processes know each other; before the optimizer."""
        ...

    def start(self, module: LightningModule, learner: Learner) -> None:
        """Bring the reference to where the policy is, once that is there."""
        ...

    def gathered(self, module: LightningModule) -> AbstractContextManager[None]:
        """While it is open, every process has all weights; all of them enter it together."""
        ...

    def update(self, module: LightningModule, loss: Tensor, is_last: bool, max_grad_norm: float) -> float:
        """Add a loss' gradient; with the last part of an update, clip and step. Norm before clipping, else nan."""
        ...

    def state(self, module: LightningModule) -> Mapping[str, Tensor] | None:
        """Weights under the model's names, on the first process' host; None in the others, or without shards."""
        ...


class Copies:
    """Every process has the whole model; gradients are averaged (DDP). One process is just itself."""

    shards_weights: Final = False

    def strategy(self, lightning: Mapping[str, Any], max_grad_norm: float, dtype: str) -> Strategy | str:
        """Lightning's own choice, unless one is configured."""
        return str(lightning.get("strategy", "auto"))

    def shard(self, module: LightningModule, learner: Learner) -> None:
        """Nothing to spread."""

    def start(self, module: LightningModule, learner: Learner) -> None:
        """The reference is no part of the module, so no trainer moves or saves it."""
        if learner.reference is not None:
            learner.reference.model.to(module.device)

    def gathered(self, module: LightningModule) -> AbstractContextManager[None]:
        """Every process has all weights."""
        return nullcontext()

    def update(self, module: LightningModule, loss: Tensor, is_last: bool, max_grad_norm: float) -> float:
        """Gradients are exchanged with the last part only."""
        sync_later = getattr(module.trainer.strategy, "block_backward_sync", nullcontext)
        with nullcontext() if is_last else sync_later():
            module.manual_backward(loss)
        return step(module, max_grad_norm) if is_last else math.nan

    def state(self, module: LightningModule) -> None:
        """Every process has all weights."""


COPIES: Final = Copies()


def step(module: LightningModule, max_grad_norm: float) -> float:
    """Clip the gradients, step, and forget them; returns their norm before."""
    optimizer: Any = module.optimizers()
    weights = [p for p in module.parameters() if p.requires_grad]
    norm = torch.nn.utils.clip_grad_norm_(weights, max_grad_norm)
    optimizer.step()
    optimizer.zero_grad()
    return float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)


def _fsdp2(keep_whole: int) -> Layout:
    from o3v.training.fsdp import Fsdp2

    return Fsdp2()


def _zero(stage: int, offload: bool) -> Callable[[int], Layout]:
    def layout(keep_whole: int) -> Layout:
        from o3v.training.zero_layout import Zero

        return Zero(stage, offload, keep_whole)

    return layout


LAYOUTS: Final[dict[str, Callable[[int], Layout]]] = {
    "ddp": lambda _: COPIES,
    "fsdp2": _fsdp2,
    "zero2": _zero(2, False),
    "zero3": _zero(3, False),
    "zero3_offload": _zero(3, True),
}

SHARDED: Final = ("fsdp2", "zero3", "zero3_offload")
"""Those under which no process has all weights."""


def check_layout(name: str) -> None:
    """Raises ConfigError where there is no such layout."""
    if name not in LAYOUTS:
        raise ConfigError(f"trainer.layout={name!r} is not allowed; allowed are {list(LAYOUTS)}")
