"""Full, resumable state on disk: written aside and renamed, the one before kept, a broken newest one passed over.

A state is a file, or with sharded weights a folder. It holds weights, optimizer and the position in the run; data,
learning rate, reward schedules and every random draw are functions of that position, so nothing else is needed. One is
only ever saved at the end of a training step, which is a rollout with all its updates: there is no rollout to save.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy, Strategy

log = logging.getLogger(__name__)

NEWEST, PREVIOUS = "last.ckpt", "previous.ckpt"
SEAL = "o3v.json"
"""In a state that is a folder: the position, and the size of every file."""

_SHARDED = (DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy)


class CarefulIO(TorchCheckpointIO):
    """Writes the one file of a state down to the disk, and notes a failure instead of raising it.

    Only the first process writes, and all wait for it afterwards: an error raised there would leave them waiting.

    Attributes:
        failure: why the last state could not be written; None where it could.
    """

    def __init__(self) -> None:
        self.failure: Exception | None = None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write a state."""
        self.failure = None
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            with Path(path).open("wb") as handle:
                torch.save(checkpoint, handle)
                handle.flush()
                os.fsync(handle.fileno())
        except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
            if not is_storage_error(error):
                raise
            self.failure = error


def save_state(trainer: Trainer, folder: Path, place: Mapping[str, Any], io: CarefulIO) -> bool:
    """Write the state now, as all processes of a run together; False when it could not be written.

    A full disk or a folder that cannot be written keeps the state of before and says so.

    Args:
        trainer: after a step.
        folder: where `last.ckpt` and `previous.ckpt` stand.
        place: the position that the state holds; written beside a state that is a folder.
        io: the trainer's own where it writes one file.
    """
    started = time.monotonic()
    aside = folder / f".{NEWEST}"
    failure: Exception | None = _no_room(trainer, folder) if is_sharded(trainer.strategy) else None
    if not any_process(trainer, failure is not None):
        failure = _write(trainer, aside, io)
        failed = any_process(trainer, failure is not None)
        if trainer.is_global_zero and not failed:
            failure = _put_in_place(aside, folder, place)
    if trainer.is_global_zero:
        if failure is None:
            log.debug("state saved in %.1f s", time.monotonic() - started)
        else:
            _remove(aside)
            log.error("state not saved in %s (%s); the one before is kept and training goes on", folder, failure)
    return failure is None


def find_state(folder: Path) -> Path | None:
    """The newest state that can be read, None if there is none.

    One that was cut off (a crash of the machine, a full disk) is named in the log and passed over.
    """
    for name in (NEWEST, PREVIOUS):
        path = folder / name
        if path.exists():
            try:
                read_place(path)
                return path
            except (RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
                log.error("state %s cannot be read (%s); trying the one before", path, error)
    return None


def read_place(state: Path) -> dict[str, Any]:
    """Where in the run a state stands, as `GroundingModule.place` says it.

    Raises:
        OSError, RuntimeError, EOFError, ValueError, KeyError: it is not whole.
    """
    if not state.is_dir():
        content = torch.load(state, map_location="cpu", weights_only=True, mmap=True)
        return dict(content["o3v"])
    seal = json.loads((state / SEAL).read_text(encoding="utf-8"))
    for name, size in seal["files"].items():
        found = (state / name).stat().st_size
        if found != size:
            raise ValueError(f"{name} has {found} bytes of {size}")
    return dict(seal["place"])


def any_process(trainer: Trainer, here: bool) -> bool:
    """Whether something holds in any process of the run; all of them must ask."""
    return highest(trainer, int(here)) > 0


def highest(trainer: Trainer, value: int) -> int:
    """The highest value among the processes of the run; all of them must ask."""
    if trainer.world_size == 1:
        return value
    told = torch.tensor(value, device=trainer.strategy.root_device)
    return int(trainer.strategy.reduce(told, reduce_op="max"))


def is_sharded(strategy: Strategy) -> bool:
    """Whether every process writes its part, so that a state is a folder."""
    return isinstance(strategy, _SHARDED)


def is_storage_error(error: Exception) -> bool:
    """Whether a disk is the cause, not the program."""
    text = str(error)
    signs = ("PytorchStreamWriter", "No space left", "unexpected pos")
    return isinstance(error, OSError) or any(sign in text for sign in signs)


def _write(trainer: Trainer, aside: Path, io: CarefulIO) -> Exception | None:
    """Why the state could not be written."""
    io.failure = None
    try:
        trainer.save_checkpoint(aside)  # ends with a barrier
    except (OSError, RuntimeError) as error:
        if not is_storage_error(error):
            raise
        return error
    return io.failure


def _put_in_place(aside: Path, folder: Path, place: Mapping[str, Any]) -> OSError | None:
    newest, previous = folder / NEWEST, folder / PREVIOUS
    try:
        if aside.is_dir():
            _seal(aside, place)
        if newest.exists():
            _remove(previous)
            newest.rename(previous)
        aside.rename(newest)
        _sync(folder)
    except OSError as error:
        return error
    return None


def _seal(state: Path, place: Mapping[str, Any]) -> None:
    """Bring a folder's files down to the disk and note their sizes, so that a part that is missing is found."""
    files = sorted(path for path in state.rglob("*") if path.is_file() and path.name != SEAL)
    for path in files:
        _sync(path)
    sizes = {str(path.relative_to(state)): path.stat().st_size for path in files}
    record = {"place": dict(place), "files": sizes}
    (state / SEAL).write_text(json.dumps(record), encoding="utf-8")
    _sync(state / SEAL)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _no_room(trainer: Trainer, folder: Path) -> OSError | None:
    """Known before the processes start to write: one that fails among the others would leave them waiting."""
    newest = folder / NEWEST
    if not trainer.is_global_zero or not newest.is_dir():
        return None
    wanted = sum(path.stat().st_size for path in newest.rglob("*") if path.is_file())
    free = shutil.disk_usage(folder).free
    return None if free > wanted else OSError(28, f"No space left: {free} bytes are free, a state has {wanted}")


def _remove(path: Path) -> None:
    try:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.exists():
            path.unlink()
    except OSError as error:
        log.debug("%s is left behind: %s", path, error)
