"""progress.json of a run's folder: how far it is, for whoever looks from outside."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path

from o3v.errors import StorageError
from o3v.tracking.run import write_atomically

log = logging.getLogger(__name__)

PROGRESS = "progress.json"
EVERY_S = 3.0


class ProgressFile:
    """Writes `{"done": 3, "total": 10, "unit": "batches", "time_s": 1700000000.0, "rate_per_s": 0.5}`.

    At most every few seconds, and whenever it is forced. The rate is that of this process since its first word; null
    until it is known. A disk that cannot be written never stops the run.

    Args:
        folder: of the run.
        total: units of the whole run.
        unit: "batches" or "questions".
        every_s: seconds between two writes.
    """

    def __init__(self, folder: Path, total: int, unit: str, every_s: float = EVERY_S) -> None:
        self._path = folder / PROGRESS
        self._total = total
        self._unit = unit
        self._every_s = every_s
        self._first: tuple[float, int] | None = None
        self._written_s = float("-inf")

    def tell(self, done: Callable[[], int], force: bool = False) -> None:
        """Write if it is time; `done` is asked only then."""
        now = time.monotonic()
        if not force and now - self._written_s < self._every_s:
            return
        self._written_s = now
        count = done()
        if self._first is None:
            self._first = (now, count)
        since_s, at_first = now - self._first[0], self._first[1]
        rate = (count - at_first) / since_s if since_s > 0 and count > at_first else None
        record = {"done": count, "total": self._total, "unit": self._unit, "time_s": time.time(), "rate_per_s": rate}
        try:
            write_atomically(self._path, json.dumps(record) + "\n")
        except StorageError as error:
            log.debug("progress is not written: %s", error)
