"""Full, resumable state on disk: written aside and renamed, the one before kept, a broken newest one passed over."""

from __future__ import annotations

import logging
import shutil
import time
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer

from o3v.training.module import GroundingModule

log = logging.getLogger(__name__)

_NEWEST, _PREVIOUS = "last.ckpt", "previous.ckpt"


class SaveState(Callback):
    """Saves the trainer's whole state every so many batches and at the end of training.

    A full disk or a folder that cannot be written keeps the state of before, says so, and training goes on.

    Args:
        folder: where `last.ckpt` and `previous.ckpt` stand.
        every_batches: batches between saves.
    """

    def __init__(self, folder: Path, every_batches: int) -> None:
        self._folder = folder
        self._every = every_batches

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Saves when it is time."""
        assert isinstance(pl_module, GroundingModule)
        if pl_module.batches_done % self._every == 0:
            self.save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves the end, so that an export that failed is done again without training again."""
        assert isinstance(pl_module, GroundingModule)
        if pl_module.batches_done % self._every:
            self.save(trainer)

    def save(self, trainer: Trainer) -> bool:
        """Write the state now; False when it could not be written.

        All processes of a run write to one name (sharded states are folders); the first one renames it.
        """
        started = time.monotonic()
        aside = self._folder / f".{_NEWEST}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            trainer.save_checkpoint(aside)  # ends with a barrier
            if trainer.is_global_zero:
                self._rotate(aside)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
            if not _is_storage_error(error):
                raise
            _remove(aside)
            log.error("state not saved in %s (%s); the one before is kept and training goes on", self._folder, error)
            return False
        log.debug("state saved in %.1f s", time.monotonic() - started)
        return True

    def _rotate(self, aside: Path) -> None:
        newest, previous = self._folder / _NEWEST, self._folder / _PREVIOUS
        if newest.exists():
            _remove(previous)
            newest.rename(previous)
        aside.rename(newest)


def find_state(folder: Path) -> Path | None:
    """The newest state that can be read, None if there is none.

    A file that was cut off (a crash of the machine, a full disk) is named in the log and passed over.
    """
    import torch

    for name in (_NEWEST, _PREVIOUS):
        path = folder / name
        if path.is_dir():
            return path
        if path.is_file():
            try:
                torch.load(path, map_location="cpu", weights_only=True, mmap=True)
                return path
            except (RuntimeError, OSError, EOFError, ValueError) as error:
                log.error("state %s cannot be read (%s); trying the one before", path, error)
    return None


def _is_storage_error(error: Exception) -> bool:
    text = str(error)
    signs = ("PytorchStreamWriter", "No space left", "unexpected pos")
    return isinstance(error, OSError) or any(sign in text for sign in signs)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    elif path.exists():
        path.unlink()
