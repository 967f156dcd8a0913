"""The one wrapper around Hydra that every entry point uses.

It finds conf/, checks the whole command before anything heavy is imported, runs it, and turns the outcome into an exit
code: 0 done, 2 a mistake that the user can mend (one message, no stack trace), 130 interrupted, 143 asked to stop by
SIGTERM and stopped with its state saved (140: by SIGUSR2), 1 anything else, with its stack trace.
"""

from __future__ import annotations

import functools
import importlib
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

import o3v
from o3v.errors import ConfigError, UserError
from o3v.stop import Interrupted, catch_signals, in_submitted_job

VERSION_BASE = "1.3"
EXIT_FAILED = 1
EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130

Entry = Callable[[DictConfig], float | None]

_log = logging.getLogger(__name__)


def command(config_name: str, stoppable: bool = False) -> Callable[[Entry], Callable[[], None]]:
    """Make a function of the composed configuration the entry point of its module.

    Args:
        config_name: root file in conf/, without `.yaml`.
        stoppable: the function looks at `o3v.stop` and raises Interrupted; others are ended by signals where they are.

    Returns:
        A decorator. The decorated function reads the command line and ends the process; the plain one stays reachable
        as its `__wrapped__`. It must stand at the top level of its module and import heavy modules in its body.

    Example:
        @command(config_name="train")
        def main(cfg: DictConfig) -> float | None: ...

        if __name__ == "__main__":
            main()
    """

    def decorate(entry: Entry) -> Callable[[], None]:
        @functools.wraps(entry)
        def main() -> None:
            sys.exit(run_command(config_name, Job(_module_name(entry), entry.__name__, stoppable)))

        return main

    return decorate


@dataclass(frozen=True)
class Job:
    """A function by the name of its module, so that a job on another machine imports it instead of unpickling it.

    Attributes:
        module: dotted name, never `__main__`.
        name: of the decorated function.
        stoppable: see `command`.
    """

    module: str
    name: str
    stoppable: bool = False

    def __call__(self, cfg: DictConfig) -> float | None:
        """Run the function on a configuration; failures end a job's process, and only mark one run of a sweep.

        Hydra stores an exception of a job as its result, so a cluster would call the job completed. A job of its own
        process therefore ends by SystemExit. One that was asked to stop is handed over to whoever runs it; that may
        fail too, when it has reached its time limit too often.
        """
        try:
            return self._run_or_hand_over(cfg)
        except UserError as error:
            say(error)
            if _shares_its_process():
                raise
            if in_submitted_job():
                _log.exception("the run failed")
            raise SystemExit(EXIT_USER_ERROR) from None
        except Exception:
            if in_submitted_job():
                _log.exception("the run failed")
                raise SystemExit(EXIT_FAILED) from None
            if _shares_its_process():
                _log.exception("the run failed; the sweep goes on")
            raise

    def _run_or_hand_over(self, cfg: DictConfig) -> float | None:
        if not self.stoppable:
            return self.entry()(cfg)
        with catch_signals() as stop:
            try:
                return self.entry()(cfg)
            except Interrupted as interrupted:
                say(interrupted)
                stop.hand_over()

    def entry(self) -> Entry:
        """The undecorated function."""
        started = sys.modules["__main__"]
        is_started = getattr(getattr(started, "__spec__", None), "name", None) == self.module
        module = started if is_started else importlib.import_module(self.module)
        return getattr(module, self.name).__wrapped__


def run_command(config_name: str, job: Job, conf: Path | None = None) -> int:
    """Check and run the command line in `sys.argv`.

    Args:
        config_name: root file.
        job: what to run.
        conf: folder of the configuration; None for the one beside the package.

    Returns:
        The exit code. Errors that are not the user's propagate.
    """
    try:
        folder = conf_folder() if conf is None else conf
        _check_arguments(config_name, folder)
        _run_hydra(config_name, job, folder)
    except UserError as error:
        say(error)
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        say("interrupted")
        return EXIT_INTERRUPTED
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):  # the trainer has shut down and exits by itself
            return EXIT_INTERRUPTED
        raise
    return 0


def conf_folder() -> Path:
    """The folder conf/ beside the package.

    Raises:
        ConfigError: there is none, because the package was installed without its repository.
    """
    folder = Path(o3v.__file__).resolve().parent.parent / "conf"
    if not folder.is_dir():
        raise ConfigError(
            f"{folder} does not exist: the configuration is part of the repository, so clone it and run 'make setup'"
        )
    return folder


def console_handler() -> logging.Handler:
    """Where log lines go: colours on a terminal, plain lines with a date in a file or on a cluster."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.logging import RichHandler

        return RichHandler(console=Console(stderr=True), show_path=False, rich_tracebacks=False)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%Y-%m-%d %H:%M:%S"))
    return handler


def say(message: object) -> None:
    """Write one message for the user to stderr."""
    sys.stderr.write(f"{message}\n")


def _check_arguments(config_name: str, folder: Path) -> None:
    """Check the overrides of a command that will compose something."""
    from hydra import initialize_config_dir
    from hydra._internal.utils import get_args_parser

    from o3v.config import ROOTS, register_schemas
    from o3v.config_check import check_command

    args = get_args_parser().parse_args()
    register_schemas(ROOTS if args.config_name or config_name not in ROOTS else [config_name])
    other = args.help or args.hydra_help or args.shell_completion or args.experimental_rerun or args.info
    if other or args.config_name or args.config_path:
        return
    overrides = list(args.overrides)
    if args.config_dir:
        overrides.append(f"hydra.searchpath=[file://{Path(args.config_dir).resolve()}]")
    with initialize_config_dir(str(folder), version_base=VERSION_BASE):
        check_command(
            config_name,
            overrides,
            multirun=args.multirun or "hydra.mode=MULTIRUN" in overrides,
            shown=args.cfg is not None,
        )


def _run_hydra(config_name: str, job: Job, folder: Path) -> None:
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from o3v.config_check import translate

    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # errors come up to here instead of being printed and swallowed
    start: Any = hydra.main(version_base=VERSION_BASE, config_path=str(folder), config_name=config_name)(job)
    try:
        start()
    except (HydraException, OmegaConfBaseException) as error:
        raise translate(error) from error
    except Exception as error:
        if not type(error).__module__.startswith("submitit."):
            raise
        say(f"a run of the sweep failed; the others go on. {error}")
        raise SystemExit(EXIT_FAILED) from None


def _module_name(entry: Entry) -> str:
    """Importable name of a function's module, also where it was started with `python -m`."""
    if entry.__module__ != "__main__":
        return entry.__module__
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec.name if spec is not None else "__main__"


def _shares_its_process() -> bool:
    """Whether further runs of a sweep follow in this process."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    is_sweep = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
    return is_sweep and not in_submitted_job()
