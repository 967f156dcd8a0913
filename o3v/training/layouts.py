"""How weights, gradients and optimizer lie in the processes of a run (conf/trainer, key `layout`)."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Protocol

import torch
from torch import Tensor

from o3v.errors import ConfigError
from o3v.sections import in_section, section

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from lightning import LightningModule
    from lightning.pytorch.strategies import Strategy

    from o3v.rollout.draw import Sampling
    from o3v.training.learner import Learner


class Layout(Protocol):
    """One way of laying a model out over processes."""

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
        with section("backward"), nullcontext() if is_last else sync_later():
            module.manual_backward(loss)
        return step(module, max_grad_norm) if is_last else math.nan

    def state(self, module: LightningModule) -> None:
        """Every process has all weights."""


COPIES: Final = Copies()


@in_section("optimizer")
def step(module: LightningModule, max_grad_norm: float) -> float:
    """Clip the gradients, step, and forget them; returns their norm before.

    An update whose gradient is not finite is left out and told, as one such step would end a run's weights; the norm is
    that of all processes, so all of them leave it out.
    """
    optimizer: Any = module.optimizers()
    weights = [p for p in module.parameters() if p.requires_grad]
    norm = torch.nn.utils.clip_grad_norm_(weights, max_grad_norm)
    size = float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)
    if math.isfinite(size):
        optimizer.step()
    else:
        log.warning("an update is left out: the norm of its gradient is %s", size)
    optimizer.zero_grad()
    return size


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


def check_layout(name: str, prompt_pass: str, lightning: Mapping[str, Any]) -> None:
    """Refuse what cannot go together.

    Args:
        name: of the layout.
        prompt_pass: a way of `o3v.training.learner.WAYS`.
        lightning: keywords of Lightning's trainer.

    Raises:
        ConfigError: names the key, its value and what is allowed.
    """
    if name not in LAYOUTS:
        raise ConfigError(f"trainer.layout={name!r} is not allowed; allowed are {list(LAYOUTS)}")
    if name in SHARDED and prompt_pass == "kept":
        raise ConfigError(
            f"trainer.prompt_pass='kept' keeps a graph from rollout to training, but trainer.layout={name} releases "
            "the weights between: allowed are split, mask and dense"
        )
    if name == "ddp":
        return
    if "strategy" in lightning:
        raise ConfigError(f"trainer.lightning.strategy is set by trainer.layout={name}: leave it out")
    precision = lightning.get("precision", "32-true")
    if precision != "32-true":
        raise ConfigError(
            f"trainer.lightning.precision={precision!r}: with trainer.layout={name} the model computes in model.dtype "
            "over float32 weights; allowed is 32-true"
        )


def check_sharded(name: str, quantization: str | None, engine: object) -> None:
    """Refuse a model or a rollout engine that wants whole weights in every process.

    Raises:
        ConfigError: names the keys.
    """
    if name not in SHARDED:
        return
    whole = [layout for layout in LAYOUTS if layout not in SHARDED]
    if quantization is not None:
        raise ConfigError(f"model.quantization={quantization!r}: trainer.layout={name} cannot spread it, use {whole}")
    if type(engine).__name__ == "ColocatedEngine":
        raise ConfigError(
            f"engine=vllm_colocated: every process writes weights for an engine of its own, and with trainer.layout="
            f"{name} only the first has them; use engine=vllm_server or own, or trainer.layout of {whole}"
        )


def drawing_under(name: str, sampling: Sampling) -> Sampling:
    """How completions are drawn under a layout: without a CUDA graph where hooks of sharding stand in its way.

    Raises:
        ConfigError: a graph is asked for.
    """
    if name not in SHARDED:
        return sampling
    if sampling.decoder == "graph":
        raise ConfigError(f"rollout.decoder='graph' does not go with trainer.layout={name}: allowed are auto and eager")
    return replace(sampling, decoder="eager")
