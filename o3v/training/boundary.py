"""The end of a training step, where the state is complete: save it, and stop if anybody asks."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer

from o3v.errors import PeerError, ServiceError
from o3v.sections import in_section
from o3v.stop import SIGNALS, Interrupted, Stop
from o3v.tracking.progress import ProgressFile
from o3v.training.module import GroundingModule
from o3v.training.state import CarefulIO, highest, save_state

log = logging.getLogger(__name__)

_FAILED = len(SIGNALS) + 1
"""A process that cannot go on; it counts more than any wish to stop."""


class Boundary(Callback):
    """Saves every so many batches, at the end, and before a stop; must be the last callback of a trainer.

    What one process meets, a signal or an error of its data or disk, all of them learn here, and stop together: one
    that left alone would keep the others waiting for it in the next step.

    Args:
        folder: of the states.
        every_batches: batches between saves.
        stop: the flag.
    """

    def __init__(self, folder: Path, every_batches: int, stop: Stop) -> None:
        self.io = CarefulIO()
        self._folder = folder
        self._every = every_batches
        self._stop = stop
        self._tried = -1

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes the signals back from the trainer, whose handlers would act inside a step; stops if asked already."""
        module = _of(pl_module)
        self._stop.install()
        self._tried = module.batches_done
        self._check_same_start(trainer, module)
        if self._stop.agree(highest(trainer, self._stop.level)):
            trainer.should_stop = True

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Agrees with the other processes, then saves and stops if it is time."""
        module = _of(pl_module)
        level = highest(trainer, _FAILED if module.failure is not None else self._stop.level)
        if level == _FAILED:
            raise module.failure or PeerError("another process of this run has stopped; its log says why")
        asked = self._stop.agree(level)
        if asked or module.batches_done % self._every == 0:
            self.save(trainer, module)
        if asked:
            trainer.should_stop = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves the end, so that an export that failed is done again without training again."""
        module = _of(pl_module)
        if self._tried != module.batches_done:
            self.save(trainer, module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Saves where a service outside has failed the only process: the step it failed has changed nothing yet."""
        module = _of(pl_module)
        if isinstance(exception, ServiceError) and trainer.world_size == 1 and self._tried != module.batches_done:
            self.save(trainer, module)

    @in_section("saving")
    def save(self, trainer: Trainer, module: GroundingModule) -> bool:
        """Write the state now; False when it could not be written."""
        self._tried = module.batches_done
        return save_state(trainer, self._folder, module.place(), self.io)

    def check_finished(self, module: GroundingModule, total_batches: int) -> None:
        """After fitting: raises Interrupted where it was stopped with batches left."""
        if self._stop.requested and module.batches_done < total_batches:
            raise Interrupted(f"batch {module.batches_done} of {total_batches}")

    def _check_same_start(self, trainer: Trainer, module: GroundingModule) -> None:
        """Processes that saw different states, as on a slow network file system, must not train together."""
        most, least = highest(trainer, module.batches_done), -highest(trainer, -module.batches_done)
        if most != least:
            raise PeerError(
                f"{self._folder}: processes of this run have read states of batch {least} and of batch {most}; "
                "start the run again when all nodes see the same files"
            )


class TellProgress(Callback):
    """Keeps progress.json of the run's folder.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: ProgressFile | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Says where the run goes on."""
        if trainer.is_global_zero:
            self._file = ProgressFile(self._folder, int(trainer.num_training_batches), "batches")
        self._tell(pl_module, force=True)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Says how far it is, every few seconds."""
        self._tell(pl_module, force=False)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Says where it ended, or was stopped."""
        self._tell(pl_module, force=True)

    def _tell(self, pl_module: LightningModule, force: bool) -> None:
        if self._file is not None:
            self._file.tell(lambda: _of(pl_module).batches_done, force)


def _of(pl_module: LightningModule) -> GroundingModule:
    assert isinstance(pl_module, GroundingModule)
    return pl_module
