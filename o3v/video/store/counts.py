"""What a store did, counted over a process and its loader workers."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

FIELDS: Final = (
    "hits",
    "waits",
    "misses",
    "full",
    "evictions",
    "damaged",
    "write_errors",
    "bytes_read",
    "bytes_written",
    "bytes_evicted",
    "read_s",
    "decode_s",
    "wait_s",
    "saved_s",
)
"""Clips served from the store, those of them that another process was waited for, clips decoded here; not kept for want
of room, taken out, found damaged, not written for an error; bytes of each; seconds of reading, decoding and waiting;
seconds that decoding the served ones took once, less those of reading them."""

_LOCK = threading.Lock()
os.register_at_fork(after_in_child=lambda: _LOCK._at_fork_reinit())  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Counts:
    """Sums over this process and those that were started with a copy of it, which each write a file of their own.

    Attributes:
        folder: where the processes' files are; made and, at the end of the process that made it, taken away.
    """

    folder: Path
    _slots: dict[int, np.ndarray] = field(default_factory=dict, init=False, repr=False, compare=False)

    @staticmethod
    def new() -> Counts:
        """Counters at zero, in a folder of their own on this machine's disk."""
        counts = Counts(Path(tempfile.mkdtemp(prefix="o3v-store-")))
        atexit.register(_remove, counts.folder, os.getpid())
        return counts

    def __getstate__(self) -> dict[str, object]:
        """A worker counts into a file of its own."""
        return {"folder": self.folder, "_slots": {}}

    def add(self, **amounts: float) -> None:
        """Count; names are those of `FIELDS`."""
        with _LOCK:
            slot = self._slot()
            for name, amount in amounts.items():
                slot[FIELDS.index(name)] += amount

    def totals(self) -> Mapping[str, float]:
        """Sums so far."""
        size = 8 * len(FIELDS)
        files = [
            np.fromfile(file, dtype=np.float64) for file in self.folder.glob("*.f8") if file.stat().st_size == size
        ]
        values = np.sum([*files, np.zeros(len(FIELDS))], axis=0)
        return dict(zip(FIELDS, values.tolist(), strict=True))

    def _slot(self) -> np.ndarray:
        pid = os.getpid()
        if pid not in self._slots:
            self._slots.clear()
            path = self.folder / f"{pid}.{os.urandom(4).hex()}.f8"
            self._slots[pid] = np.memmap(path, dtype=np.float64, mode="w+", shape=(len(FIELDS),))
        return self._slots[pid]


def _remove(folder: Path, pid: int) -> None:
    if os.getpid() == pid:
        shutil.rmtree(folder, ignore_errors=True)
