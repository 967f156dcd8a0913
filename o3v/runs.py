"""One run of an entry point: its folder, its tracker, and whether there is anything left to do."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from o3v.errors import StorageError
from o3v.stop import Interrupted
from o3v.tracking.circumstances import write_circumstances
from o3v.tracking.journal import METRICS, read_lines, set_aside
from o3v.tracking.run import NOT_IDENTITY, RunFolder, git_state, run_signature
from o3v.tracking.tracker import NullTracker, Tracker, TrackerSettings

log = logging.getLogger(__name__)

STOPPED = (KeyboardInterrupt, SystemExit, Interrupted)
"""What ends a process that has made no mistake; the same command goes on later."""

LOCK_WAIT_S = 15.0
"""How long a start waits for another process to leave the run."""


@dataclass(frozen=True)
class Run:
    """An open run.

    Attributes:
        folder: everything that the run writes; its name ends with the run's signature.
        tracker: told what happens; tells nobody where there is nothing left to do.
        result: what the run ended with, if it is finished; then there is nothing to do.
        lock: held while this process works on the run, so that no second one does; None in other ranks.
    """

    folder: RunFolder
    tracker: Tracker
    result: dict[str, Any] | None
    lock: IO[str] | None

    @property
    def states(self) -> Path:
        """Folder of the resumable states."""
        return self.folder.path / "states"

    @property
    def faults(self) -> Path:
        """List of the samples that could not be read."""
        return self.folder.path / "faults.jsonl"

    @property
    def model(self) -> Path:
        """Folder of the exported model."""
        return self.folder.path / "model"

    @property
    def records(self) -> Path:
        """Answers of an evaluation, one a line."""
        return self.folder.path / "records.jsonl"

    @property
    def rollouts(self) -> Path:
        """Completions of an RL run or an evaluation, as `python -m o3v.rescore` reads them."""
        return self.folder.path / "rollouts.jsonl"

    def cpu_s(self) -> float:
        """CPU seconds of all steps of the run, over all its restarts."""
        steps = read_lines(self.folder.path / METRICS)
        return round(sum(line["values"].get("train/time/step_cpu_s", 0.0) for _, line in steps), 1)

    def complete(self, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Do the run's work and close it, as finished, failed or interrupted; returns its result."""
        try:
            result = work()
        except BaseException as error:  # whatever stopped it, the tracker is told before the error goes on
            self.tracker.finish("interrupted" if isinstance(error, STOPPED) else "failed")
            raise
        else:
            self.finish(result)
        finally:
            _release(self.lock)
        return result

    def finish(self, result: Mapping[str, Any]) -> None:
        """Close the tracker and mark the run as finished, in this order: a crash in between repeats the close."""
        self.tracker.metrics({f"final/{k}": float(v) for k, v in result.items() if isinstance(v, int | float)}, 0)
        self.tracker.finish("finished")
        self.folder.mark_done(result)


def open_run(name: str, config: Mapping[str, Any], settings: TrackerSettings, again: bool) -> Run:
    """Open the run of a configuration: a new one, or the one that an earlier start left.

    Args:
        name: of the stage; the folder is `output_dir/NAME-SIGNATURE`.
        config: resolved configuration with `paths.output_dir`.
        settings: what `conf/logger` instantiates.
        again: forget a finished run's result and do it once more.

    Raises:
        StorageError: the output folder cannot be written; before anything heavy is loaded.
    """
    identity = {key: value for key, value in config.items() if key != "again"}
    signature = run_signature(identity)
    folder = RunFolder(Path(config["paths"]["output_dir"]) / f"{name}-{signature}")
    if not is_main_process():
        return Run(folder, NullTracker(), folder.done() if not again else None, None)
    folder.create()
    lock = _hold(folder.path / ".lock")
    if again:
        _start_afresh(folder)
    result = folder.done()
    if result is not None:
        log.info("%s is finished; again=true would run it again", folder.path)
        _release(lock)
        return Run(folder, NullTracker(), result, None)
    folder.write_config(identity)
    git = git_state(Path(__file__).parent)
    tags = {
        "signature": signature,
        "git_commit": git["commit"] or "none",
        "git_dirty": str(git["dirty"]),
        "stage": name,
        "seed": str(config.get("seed")),
    }
    tracker = settings.start(folder, f"{name}-{signature}", identity, overrides_as_tags() | tags)
    for path in (folder.path / "config.yaml", *write_circumstances(folder, Path(__file__).parent)):
        tracker.artifact(path, "batch" if path.parent.name == "batch" else "")
    log.info("run %s in %s", signature, folder.path)
    return Run(folder, tracker, None, lock)


def overrides_as_tags() -> dict[str, str]:
    """What the command line of a multirun set for this job, by key, so that arms are found by their tags; else empty.

    Where a run happens (paths, cluster, logger, Hydra's own keys) is left out.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return {}
    pairs = (override.partition("=") for override in HydraConfig.get().overrides.task)
    told = {key.lstrip("+~"): value for key, _, value in pairs}
    return {key: value for key, value in told.items() if key.split(".")[0] not in NOT_IDENTITY}


def is_main_process() -> bool:
    """Whether this is the process of a distributed run that writes; a run of one process is its own main process."""
    ranks = (os.environ.get(name) for name in ("RANK", "SLURM_PROCID", "NODE_RANK", "LOCAL_RANK"))
    return all(rank in (None, "0") for rank in ranks)


def _hold(path: Path) -> IO[str]:
    """Take the run's lock; waits a little for a process that is just ending.

    Raises:
        StorageError: another process keeps working on the run.
    """
    handle = path.open("w", encoding="utf-8")
    until = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                raise StorageError(f"{path.parent}: another process is working on this run; wait or stop it") from None
            time.sleep(0.2)
        else:
            return handle


def _release(lock: IO[str] | None) -> None:
    """Let go of the lock, also where a forked loader worker still has the file open."""
    if lock is not None:
        fcntl.flock(lock, fcntl.LOCK_UN)
        lock.close()


def _start_afresh(folder: RunFolder) -> None:
    """Forget that a run was finished: its result and states go, its journal is set aside."""
    (folder.path / "DONE.json").unlink(missing_ok=True)
    shutil.rmtree(folder.path / "states", ignore_errors=True)
    for pattern in ("records*.jsonl", "paths*.jsonl"):
        for answers in folder.path.glob(pattern):
            answers.unlink()
    set_aside(folder)
