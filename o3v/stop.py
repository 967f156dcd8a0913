"""Asking a run to stop: signals set a flag, work looks at it where its state is complete, then the job is handed over.

SIGUSR2 is the warning before a time limit or a preemption, and what submitit requeues on. SIGTERM is what remains where
nobody warns: `scontrol requeue`, `scancel`, the end of a grace time. Neither interrupts a step. At a step's end the
processes of a run agree, save, and raise `Interrupted`; whoever started the work then calls `Stop.hand_over`:

    with catch_signals() as stop:
        try:
            return work()
        except Interrupted:
            stop.hand_over()

submitit's own handler would requeue at whatever instruction the signal meets; it is kept here and called from
`hand_over`, so that its count of time limits, its pickled job and its requeue stay in use. SIGINT is left alone.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

log = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGUSR2)
"""What is caught, the weaker first: a warning that can be handed over counts more than an end that cannot."""

STEP_END_LIMIT_S = 300.0
"""How long the other processes of a job wait for the first one's requeue to end them."""


class Interrupted(Exception):
    """The work stopped because it was asked to, at a point from which it goes on when it is started again.

    Attributes:
        place: where it stands, for messages.
    """

    def __init__(self, place: str) -> None:
        super().__init__(f"interrupted: {place}; the same command goes on from here")
        self.place = place

    def __reduce__(self) -> tuple[type[Interrupted], tuple[str]]:
        """Worker processes send it to the one that started them."""
        return type(self), (self.place,)


class Stop:
    """The flag, and what was in charge of the signals before.

    Attributes:
        level: 0 while nobody asked; else the place of the strongest signal in `SIGNALS`, from 1. Processes of a run
            exchange it: it is ordered, so its maximum is what all of them do.
    """

    def __init__(self) -> None:
        self.level = 0
        self._earlier: dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether somebody asked to stop."""
        return self.level > 0

    def agree(self, level: int) -> bool:
        """Take over what any process of the run was asked; whether to stop."""
        self.level = max(self.level, level)
        return self.requested

    def install(self) -> None:
        """Point the signals at the flag, again where somebody has taken them since; only once the first was caught."""
        for number in self._earlier:
            signal.signal(number, self._note)

    def catch(self) -> None:
        """Take the signals; a no-op outside the main thread, where Python cannot."""
        if threading.current_thread() is threading.main_thread():
            self._earlier = {number: signal.getsignal(number) for number in SIGNALS}
            self.install()

    def release(self) -> None:
        """Give the signals back."""
        for number, handler in self._earlier.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        self._earlier = {}

    def hand_over(self) -> NoReturn:
        """End this process so that the job goes on later; call it from ordinary code, when the state is on disk.

        After SIGUSR2 in a job of submitit its own handler pickles the job, requeues it, and exits, in the first
        process; the others wait until SLURM ends the step. After SIGTERM whoever sent it does the rest, so that the
        process leaves with 128 + the signal's number, as it would have without being caught.

        Raises:
            SystemExit: always, but for
            submitit.core.utils.UncompletedJobError: "timed-out too many times"; the job then ends as failed.
        """
        number = SIGNALS[self.level - 1] if self.level else signal.SIGTERM
        requeue = self._earlier.get(number)
        if number == signal.SIGUSR2 and callable(requeue):
            log.info("handing the job over")
            self._requeue(requeue, number)
        sys.exit(128 + number)

    def _requeue(self, handler: Callable[[int, FrameType | None], object], number: int) -> None:
        """The handler of submitit exits in the first process and returns in the others."""
        self.level = 0  # from here on a TERM is the end that the requeue brings
        handler(number, None)
        until = time.monotonic() + STEP_END_LIMIT_S
        while not self.requested and time.monotonic() < until:
            time.sleep(0.1)

    def _note(self, number: int, _: FrameType | None) -> None:
        self.level = max(self.level, SIGNALS.index(signal.Signals(number)) + 1)


_active: list[Stop] = []


@contextmanager
def catch_signals() -> Iterator[Stop]:
    """Catch the signals while the block runs; inside another such block, the outer one's flag."""
    if _active:
        yield _active[0]
        return
    stop = Stop()
    stop.catch()
    _active.append(stop)
    try:
        yield stop
    finally:
        _active.remove(stop)
        stop.release()


def current_stop() -> Stop:
    """The flag to look at; one that nobody sets where no signals are caught."""
    return _active[0] if _active else Stop()


def in_submitted_job() -> bool:
    """Whether submitit started this process."""
    return "SUBMITIT_EXECUTOR" in os.environ
