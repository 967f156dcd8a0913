"""Tells the tracker what the frame store did, after every batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from lightning import Callback, LightningModule, Trainer

from o3v.tracking.tracker import Tracker
from o3v.training.module import GroundingModule

SELDOM_S = 5.0
"""Sums are told at most so often, as they only grow and telling costs milliseconds."""


class StoreReport(Callback):
    """Logs the store's sums under `train/store/...`: those of the first process and its loader workers.

    Workers read ahead, so a batch's line may count clips of later batches.

    Args:
        tracker: is told.
        counts: sums so far, by name; empty without a store.
    """

    def __init__(self, tracker: Tracker, counts: Callable[[], Mapping[str, float]]) -> None:
        self._tracker = tracker
        self._counts = counts
        self._told_s: float | None = None

    def counts(self) -> dict[str, float]:
        """Sums so far, for the run's result."""
        return dict(self._counts())

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Logs the sums, seldom."""
        if self._told_s is None or time.monotonic() - self._told_s > SELDOM_S:
            self._tell(trainer, pl_module, -1)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Logs the last sums, behind the last batch."""
        self._tell(trainer, pl_module, 0)

    def _tell(self, trainer: Trainer, pl_module: LightningModule, offset: int) -> None:
        assert isinstance(pl_module, GroundingModule)
        self._told_s = time.monotonic()
        if trainer.is_global_zero:
            named = {f"train/{name}": value for name, value in self._counts().items()}
            if named:
                self._tracker.metrics(named, pl_module.batches_done + offset)
