"""DeepSpeed's ZeRO as one of the layouts of `o3v.training.layouts`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from o3v.training.zero import ZeroStrategy, zero_strategy

if TYPE_CHECKING:
    from lightning import LightningModule

    from o3v.training.learner import Learner


@dataclass(frozen=True)
class Zero:
    """See `o3v.training.layouts.Layout`.

    Attributes:
        stage: 2 spreads gradients and optimizer, 3 the weights too.
        offload: the optimizer works on the host, where weights and moments lie.
        keep_whole: in stage 3, weights with at most so many numbers stay whole in every process.
    """

    stage: int
    offload: bool
    keep_whole: int

    def strategy(self, lightning: Mapping[str, Any], max_grad_norm: float, dtype: str) -> ZeroStrategy:
        """Lightning's DeepSpeed strategy, on a GPU or a CPU."""
        device = "cpu" if lightning.get("accelerator") == "cpu" else "cuda"
        return zero_strategy(self.stage, self.offload, max_grad_norm, dtype, device, self.keep_whole)

    def shard(self, module: LightningModule, learner: Learner) -> None:
        """DeepSpeed spreads the policy by itself; the reference follows in `start`."""

    def start(self, module: LightningModule, learner: Learner) -> None:
        """Spread the reference."""
        if learner.reference is not None and learner.reference is not learner.policy:
            _strategy(module).shard_frozen(learner.reference.model)

    def gathered(self, module: LightningModule) -> AbstractContextManager[None]:
        """See `ZeroStrategy.gathered`."""
        return _strategy(module).gathered()

    def update(self, module: LightningModule, loss: Tensor, is_last: bool, max_grad_norm: float) -> float:
        """Clipped to the norm that the strategy was made with."""
        norm = _strategy(module).apply_loss(loss, is_last)
        return math.nan if norm is None else norm

    def state(self, module: LightningModule) -> Mapping[str, Tensor] | None:
        """From the weights in which the model computes."""
        return _strategy(module).whole_state()


def _strategy(module: LightningModule) -> ZeroStrategy:
    strategy = module.trainer.strategy
    assert isinstance(strategy, ZeroStrategy)
    return strategy
