"""No more than so many requests a second, whatever the number of threads that ask."""

from __future__ import annotations

import threading
import time


class Pace:
    """Hands out moments that lie at least `1 / per_s` seconds apart.

    Args:
        per_s: most requests a second; None for no limit.
    """

    def __init__(self, per_s: float | None) -> None:
        self._gap_s = 0.0 if per_s is None else 1.0 / per_s
        self._next_s = 0.0
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Sleep until this thread's turn."""
        delay_s = self.delay_s(time.monotonic())
        if delay_s > 0:
            time.sleep(delay_s)

    def delay_s(self, now_s: float) -> float:
        """Take the next turn; how long it is until then.

        >>> pace = Pace(2.0)
        >>> [pace.delay_s(now) for now in (10.0, 10.0, 10.1, 20.0)]
        [0.0, 0.5, 0.9, 0.0]
        """
        with self._lock:
            turn_s = max(now_s, self._next_s)
            self._next_s = turn_s + self._gap_s
        return round(turn_s - now_s, 9)
