"""A thread that sends, so that a training step never waits for a server, and that does not give up while it is away."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from o3v.errors import ConfigError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pace:
    """When to send, and how long to wait for a server that is away.

    Attributes:
        every_s: seconds between two rounds of sending.
        tables_every_s: least seconds between two sendings of a table, which is sent whole each time.
        retry_first_s: wait after a first failure; each further one in a row doubles it.
        retry_most_s: longest such wait.
        finish_wait_s: how long a run that ends waits for what is left to be sent.
        interrupt_wait_s: the same for a run that is interrupted and goes on later; its next start sends the rest.

    Raises:
        ConfigError: a value that is not positive (the two last may be 0), or retry_most_s below retry_first_s.
    """

    every_s: float
    tables_every_s: float
    retry_first_s: float
    retry_most_s: float
    finish_wait_s: float
    interrupt_wait_s: float

    def __post_init__(self) -> None:
        for name in ("every_s", "tables_every_s", "retry_first_s", "retry_most_s"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"logger.pace.{name}={getattr(self, name)}: must be above 0 seconds")
        for name in ("finish_wait_s", "interrupt_wait_s"):
            if getattr(self, name) < 0:
                raise ConfigError(f"logger.pace.{name}={getattr(self, name)}: must be at least 0 seconds")
        if self.retry_most_s < self.retry_first_s:
            raise ConfigError(
                f"logger.pace.retry_most_s={self.retry_most_s}: must be at least retry_first_s={self.retry_first_s}"
            )

    def retry_wait_s(self, streak: int) -> float:
        """Wait after the `streak`-th failure in a row, counted from 1.

        >>> [Pace(5, 60, 1, 60, 30, 5).retry_wait_s(streak) for streak in (1, 2, 3, 7, 5000)]
        [1, 2, 4, 60, 60]
        """
        doublings = min(streak - 1, 30)
        return min(self.retry_first_s * 2**doublings, self.retry_most_s)


class Sender:
    """Runs rounds of sending in a thread of its own, until it is told to finish.

    Args:
        send: one round; its argument says that it is the last one. Runs in the thread only.
        close: called by the thread when it ends, also when it gave up.
        failures: exceptions of a round after which it is tried again; another one is a bug, ends the thread and is
            printed with its trace, and training goes on.
        pace: waits.
        where: the address, for messages.
    """

    def __init__(
        self,
        send: Callable[[bool], object],
        close: Callable[[], None],
        failures: tuple[type[Exception], ...],
        pace: Pace,
        where: str,
    ) -> None:
        self._send = send
        self._close = close
        self._failures = failures
        self._pace = pace
        self._where = where
        self._streak = 0
        self._stopping = threading.Event()
        self._given_up = threading.Event()
        self._done = False
        self._thread = threading.Thread(target=self._work, name="o3v-sender", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def finish(self, wait_s: float) -> bool:
        """Asks for a last round and waits for it, at most `wait_s`; whether everything was sent.

        After that the thread ends by itself, at the latest when the call it is in returns.
        """
        self._stopping.set()
        self._thread.join(wait_s)
        self._given_up.set()
        return self._done and not self._thread.is_alive()

    def _work(self) -> None:
        try:
            while not self._given_up.is_set():
                last = self._stopping.is_set()
                sent = self._try(last)
                if sent and last:
                    self._done = True
                    return
                self._rest(self._pace.every_s if sent else self._pace.retry_wait_s(self._streak))
        finally:
            self._close()

    def _try(self, last: bool) -> bool:
        try:
            self._send(last)
        except self._failures as error:
            self._streak += 1
            level = logging.WARNING if self._streak == 1 else logging.DEBUG
            log.log(level, "%s cannot be written (%s); the run goes on and sends later", self._where, error)
            return False
        if self._streak > 0:
            log.info("%s is written again after %d tries", self._where, self._streak)
        self._streak = 0
        return True

    def _rest(self, wait_s: float) -> None:
        """Waits for the next round; an end that is asked for meanwhile is tried at once, then at short intervals."""
        if self._stopping.is_set():
            self._given_up.wait(self._pace.retry_first_s)
        else:
            self._stopping.wait(wait_s)
