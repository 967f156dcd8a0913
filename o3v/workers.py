"""Several processes that answer one benchmark on this machine, and what the parent shows meanwhile."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from o3v.stop import Interrupted, catch_signals, current_stop

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

    from rich.console import Console

_POLL_S = 0.5


@dataclass(frozen=True)
class Worker:
    """One process of several.

    Attributes:
        work: importable function of the configuration and of K/N.
        config: resolved configuration, plain values.
        index: which worker, from 0.
        count: of how many.
        log: file that takes its output.
    """

    work: Callable[[Mapping[str, Any], str], None]
    config: Mapping[str, Any]
    index: int
    count: int
    log: Path

    def __call__(self) -> None:
        """Run in the process; ends when the parent is gone."""
        end_with_parent()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        sys.stdout = sys.stderr = self.log.open("a", buffering=1, encoding="utf-8")
        form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
        logging.basicConfig(level=logging.INFO, stream=sys.stderr, format=form)
        with catch_signals() as stop:
            try:
                self.work(self.config, f"{self.index}/{self.count}")
            except Interrupted as interrupted:
                logging.info("%s", interrupted)
                stop.hand_over()


def end_with_parent() -> None:
    """Ends this process soon after its parent has ended, however that ended."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_POLL_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def run_workers(
    work: Callable[[Mapping[str, Any], str], None],
    config: Mapping[str, Any],
    count: int,
    folder: Path,
    total: int,
    console: Console | None,
) -> None:
    """Start the workers, show how many records their files hold, wait; stop all when one fails or a signal asks to.

    Args:
        work: importable function, called in each process with the configuration and its K/N.
        config: resolved configuration, plain values.
        count: number of processes.
        folder: of the records and of worker-K.log.
        total: records wanted.
        console: shows progress; None shows nothing.

    Raises:
        UserError: a worker failed; names its log and gives its last line.
        Interrupted: a signal asked to stop; each worker has ended after the batch that it was at.
    """
    from o3v.benchmarks.runner import count_lines
    from o3v.errors import UserError

    workers = [Worker(work, config, index, count, folder / f"worker-{index}.log") for index in range(count)]
    processes = [_start(worker) for worker in workers]
    try:
        _watch(processes, folder, total, console)
        failed = [worker for worker, process in zip(workers, processes, strict=True) if process.exitcode]
        stopped = current_stop().requested and any(process.exitcode != 0 for process in processes)
    finally:
        for process in processes:
            process.terminate()
            process.join()
    if stopped:
        raise Interrupted(f"{folder}: {min(count_lines(folder), total)} of {total} questions are answered")
    for worker in failed:
        raise UserError(f"worker {worker.index} of {count} failed; {worker.log} says why: {_last_line(worker.log)}")


def _start(worker: Worker) -> BaseProcess:
    process = get_context("spawn").Process(target=worker, name=f"worker-{worker.index}")
    process.start()
    return process


def _watch(processes: list[BaseProcess], folder: Path, total: int, console: Console | None) -> None:
    """Until all have ended, one has failed, or a signal asks to stop."""
    from o3v.benchmarks.runner import count_lines, progress_bar

    with progress_bar(console) as progress:
        bar = progress.add_task(folder.name, total=total)
        while any(process.is_alive() for process in processes):
            if current_stop().requested or any(process.exitcode for process in processes):
                return
            progress.update(bar, completed=min(count_lines(folder), total))
            time.sleep(_POLL_S)
        progress.update(bar, completed=min(count_lines(folder), total))


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").strip().splitlines() if path.is_file() else []
    return lines[-1] if lines else "it wrote nothing"
