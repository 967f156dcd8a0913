"""How much a store may hold: entries that nobody used for long go first, and leftovers of crashed processes go too."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from o3v.video.store.claims import holder_is_dead

CLIP: Final = ".clip"
CLAIM: Final = ".claim"
ABANDONED_S: Final = 3600.0
"""A temporary file or claim that nobody touched for so long has no living owner: either takes seconds."""
LOW_WATER: Final = 0.9
"""Share of the limit down to which is cleared, so that not every further clip lists the folder again."""
LISTED_S: Final = 30.0
"""A listing of the folder counts at least so long, plus what this process wrote since."""
WRITERS: Final = 64
"""Processes that may write as much as this one: the folder is listed again when so many could have filled the rest."""


@dataclass(frozen=True)
class Kept:
    """An entry: file, size, and when it was last used (to `touch_s`)."""

    path: Path
    n_bytes: int
    used_s: float


@dataclass(frozen=True)
class Cleared:
    """What was taken out to make room."""

    fits: bool
    entries: int = 0
    n_bytes: int = 0


@dataclass
class Space:
    """The room of one folder as one process knows it.

    Attributes:
        root: folder of the entries.
        limit_bytes: most bytes of all entries.
        keep_free_bytes: bytes of the disk that stay free.
        keep_used_s: an entry used so recently is not taken out; a store full of such takes nothing more. An epoch over
            more clips than fit would else take out each just before it is wanted again.
    """

    root: Path
    limit_bytes: int
    keep_free_bytes: int
    keep_used_s: float
    _used_bytes: int = field(default=0, init=False)
    _listed_bytes: int = field(default=0, init=False)
    _listed_at_s: float | None = field(default=None, init=False)
    _full_at_s: float | None = field(default=None, init=False)

    def make_room(self, n_bytes: int) -> Cleared:
        """Room for a further entry, by taking out the least recently used where there is none.

        Several processes may do so at once: each unlinks the oldest, and who has a file mapped keeps it.

        Raises:
            OSError: the folder cannot be listed.
        """
        now_s = time.monotonic()
        if n_bytes > self.limit_bytes or (self._full_at_s is not None and now_s - self._full_at_s < LISTED_S):
            return Cleared(False)
        if self._is_stale(now_s):
            self._take_stock(list(self._listed()))
        if self._fits(n_bytes):
            self._used_bytes += n_bytes
            return Cleared(True)
        entries, freed = self._evict(n_bytes)
        fits = self._fits(n_bytes)
        self._full_at_s = None if fits else now_s
        self._used_bytes += n_bytes if fits else 0
        return Cleared(fits, entries, freed)

    def _is_stale(self, now_s: float) -> bool:
        """Whether others may have filled what was left; far from the limit a shared folder is hardly ever listed."""
        if self._listed_at_s is None:
            return True
        others = WRITERS * (self._used_bytes - self._listed_bytes)
        return now_s - self._listed_at_s > LISTED_S and others > self.limit_bytes - self._listed_bytes

    def _limit(self) -> int:
        """Bytes that entries may have: the limit, or less where the disk has less."""
        free = shutil.disk_usage(self.root).free - self.keep_free_bytes
        return min(self.limit_bytes, self._used_bytes + free)

    def _fits(self, n_bytes: int) -> bool:
        return self._used_bytes + n_bytes <= self._limit()

    def _take_stock(self, kept: list[Kept]) -> None:
        self._used_bytes = self._listed_bytes = sum(entry.n_bytes for entry in kept)
        self._listed_at_s = time.monotonic()

    def _evict(self, n_bytes: int) -> tuple[int, int]:
        """Take out the longest unused until the new entry and some more fit; returns entries and bytes."""
        kept = sorted(self._listed(), key=lambda entry: entry.used_s)
        self._take_stock(kept)
        target = min(LOW_WATER * self._limit(), self._limit() - n_bytes)
        entries = freed = 0
        for entry in kept:
            idle_s = time.time() - entry.used_s
            if self._used_bytes <= target or (self.keep_used_s > 0 and idle_s < self.keep_used_s):
                break
            entry.path.unlink(missing_ok=True)
            self._used_bytes -= entry.n_bytes
            entries, freed = entries + 1, freed + entry.n_bytes
        return entries, freed

    def _listed(self) -> Iterator[Kept]:
        """All entries; abandoned temporary files and claims are taken away in passing."""
        for folder in (entry for entry in os.scandir(self.root) if entry.is_dir()):
            for file in os.scandir(folder.path):
                try:
                    stat = file.stat()
                except OSError:
                    continue  # taken out meanwhile
                if file.name.endswith(CLIP):
                    yield Kept(Path(file.path), stat.st_size, stat.st_mtime)
                elif _is_left_over(Path(file.path), stat.st_mtime):
                    Path(file.path).unlink(missing_ok=True)


def _is_left_over(path: Path, changed_s: float) -> bool:
    return time.time() - changed_s > ABANDONED_S or (path.name.endswith(CLAIM) and holder_is_dead(path))
