"""One stage of a study as a job: plain values that submitit pickles by reference, and everything that a node does.

The job is idempotent: whatever ends it (time limit, preemption, `scontrol requeue`, a lost node, a second launch), the
same call goes on from what is on disk, and returns at once where the run is finished.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from o3v.errors import ConfigError, UserError
from o3v.stop import Interrupted, catch_signals
from o3v.tracking.run import RunFolder, git_state

if TYPE_CHECKING:
    from submitit.core.utils import DelayedSubmission

    from o3v.study import StageRun

log = logging.getLogger(__name__)

COMMANDS = {"train": "o3v.train:run", "evaluate": "o3v.evaluate:run"}
"""Command of a stage -> `module:function` of the composed configuration."""


class StageNotDoneError(UserError):
    """A stage was started before the one whose weights it needs."""


@dataclass(frozen=True)
class StageJob:
    """What runs on the node.

    Attributes:
        key, stage: of the run.
        command: a key of `COMMANDS`; or `module:function` of the overrides and the folder, which is not composed.
        overrides: complete.
        folder: of the run.
        needs: stage -> folder of the run that must be done before.
        commit: of the code when it was submitted, None outside a repository.
    """

    key: str
    stage: str
    command: str
    overrides: tuple[str, ...]
    folder: str
    needs: Mapping[str, str]
    commit: str | None

    def __call__(self) -> dict[str, Any]:
        """Do the stage's work, go on with it, or return what it ended with.

        Raises:
            StageNotDoneError: a stage before this one has not finished.
            SystemExit: the job was asked to stop and is handed over; it goes on later.
            Exception: whatever the work raised, so that the scheduler sees a failed job and its log the traceback.
        """
        _speak()
        result = RunFolder(Path(self.folder)).done()
        if result is not None:
            log.info("%s is done already", self.key)
            return result
        check_needs(self.needs)
        overrides = (*self.overrides, *changed_code(self.overrides, self.commit, git_state(Path(__file__).parent)))
        with catch_signals() as stop:
            try:
                return work_of(self.command)(overrides, self.folder)
            except Interrupted as error:
                log.info("%s: %s", self.key, error)
                stop.hand_over()

    def checkpoint(self) -> DelayedSubmission:
        """What submitit requeues: this very job, as its whole state is in the run's folder."""
        from submitit.core.utils import DelayedSubmission

        return DelayedSubmission(self)


def stage_job(run: StageRun, runs: Mapping[str, StageRun], tracking: Sequence[str], commit: str | None) -> StageJob:
    """The job of a run.

    Args:
        run: what to do.
        runs: of the study, among them the parent.
        tracking: overrides that tell the run where it belongs in MLflow.
        commit: of the code now.
    """
    parent = runs[run.parent] if run.parent is not None else None
    return StageJob(
        key=run.key,
        stage=run.stage,
        command=run.command,
        overrides=(*run.overrides, *tracking),
        folder=str(run.folder),
        needs={parent.stage: str(parent.folder)} if parent is not None else {},
        commit=commit,
    )


def check_needs(needs: Mapping[str, str]) -> None:
    """Refuse to start on unfinished work; a dependency of SLURM alone is no proof, as it forgets ended jobs.

    Raises:
        StageNotDoneError: names the stage and the file that is missing.
    """
    for stage, folder in needs.items():
        if RunFolder(Path(folder)).done() is None:
            raise StageNotDoneError(
                f"stage {stage} is not done: {folder}/DONE.json does not exist; "
                "launchers.status says why, and launchers.submit starts what is missing"
            )


def changed_code(overrides: Sequence[str], submitted: str | None, now: Mapping[str, Any]) -> list[str]:
    """Overrides that tag a run whose code is not the submitted one; a warning goes to the log.

    Modules are imported on the node, so an edit between submit and start, or before a requeue, is what runs.

    Example:
        >>> changed_code(["logger.tags={arm:o3}"], "abc", {"commit": "abc", "dirty": False})
        []
        >>> changed_code(["logger.tags={arm:o3}"], "abc", {"commit": "def", "dirty": False})
        ['+logger.tags.submitted_commit=abc']
    """
    if submitted is None or now["commit"] == submitted:
        return []
    log.warning("submitted from commit %s, but the code here is of commit %s", submitted, now["commit"])
    tagged = any(line.startswith("logger.tags=") for line in overrides)
    return [f"+logger.tags.submitted_commit={submitted}"] if tagged else []


def work_of(command: str) -> Callable[[Sequence[str], str], dict[str, Any]]:
    """The function of overrides and folder that a command means."""
    module, _, name = COMMANDS.get(command, command).partition(":")
    function = getattr(importlib.import_module(module), name)
    if command not in COMMANDS:
        return function  # type: ignore[no-any-return]

    def composed(overrides: Sequence[str], folder: str) -> dict[str, Any]:
        from o3v.compose import compose_command
        from o3v.study import run_key

        cfg = compose_command(command, overrides)
        if run_key(command, cfg) != Path(folder).name:
            raise ConfigError(
                f"{Path(folder).name}: on this node the configuration is that of run {run_key(command, cfg)}: other "
                "environment variables, or other code, than where the study was submitted"
            )
        result: dict[str, Any] = function(cfg)
        return result

    return composed


def _speak() -> None:
    """Log lines of the project go to the job's log."""
    from o3v.cli import console_handler

    root = logging.getLogger()
    if not root.handlers:
        root.addHandler(console_handler())
        root.setLevel(logging.INFO)
