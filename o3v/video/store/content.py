"""What names a file's content: a hash that is computed once a file, or its size and time of change."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from o3v.errors import ConfigError, MediaError
from o3v.video.store.entry import write_aside

logger = logging.getLogger(__name__)

KINDS: Final = ("content", "stat")
SETTLED_S: Final = 2.0
"""A file changed so recently may change again within one tick of its file system's clock: not remembered."""
CHUNK_BYTES: Final = 1 << 22

Stamp = tuple[int, int, int]
"""Size, time of change in ns, inode."""


@dataclass(frozen=True)
class ContentKeys:
    """Names of files' contents.

    Attributes:
        root: folder in which hashes are remembered by path, size, time of change and inode.
        kind: `content` hashes every byte, so copies and moved files are one; `stat` trusts path, size and time of
            change, and reads nothing.
    """

    root: Path
    kind: str
    _known: dict[tuple[str, Stamp], str] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Reject an unknown kind."""
        if self.kind not in KINDS:
            raise ConfigError(f"store.key={self.kind}: allowed are {', '.join(KINDS)}")

    def name(self, path: Path) -> str:
        """The content of a file.

        Raises:
            MediaError: it is missing or cannot be read.
        """
        place = os.path.abspath(path)
        try:
            stamp = stamp_of(place)
            if self.kind == "stat":
                return f"stat {place} {stamp[0]} {stamp[1]}"
            known = self._known.get((place, stamp)) or self._remembered(place, stamp) or self._hashed(place, stamp)
        except FileNotFoundError as error:
            raise MediaError(path, "file is missing") from error
        except OSError as error:
            raise MediaError(path, f"not readable ({error.strerror or error})") from error
        self._known[place, stamp] = known
        return known

    def _file(self, place: str) -> Path:
        name = hashlib.sha256(place.encode(errors="surrogateescape")).hexdigest()[:40]
        return self.root / name[:2] / f"{name}.json"

    def _remembered(self, place: str, stamp: Stamp) -> str | None:
        try:
            kept = json.loads(self._file(place).read_bytes())
            return str(kept["sha256"]) if (kept["path"], tuple(kept["stamp"])) == (place, stamp) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _hashed(self, place: str, stamp: Stamp) -> str:
        digest = hashlib.sha256()
        with open(place, "rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
        if stamp_of(place) == stamp and abs(time.time() - stamp[1] / 1e9) > SETTLED_S:
            self._remember(place, stamp, digest.hexdigest())
        return digest.hexdigest()

    def _remember(self, place: str, stamp: Stamp, digest: str) -> None:
        kept = {"path": place, "stamp": stamp, "sha256": digest}
        try:
            write_aside(self._file(place), json.dumps(kept).encode())
        except (OSError, UnicodeError) as error:
            logger.debug("%s: its hash is not remembered (%s)", place, error)


def stamp_of(path: str | Path) -> Stamp:
    """What changes when a file does.

    Raises:
        OSError: there is none.
    """
    stat = os.stat(path)
    return stat.st_size, stat.st_mtime_ns, stat.st_ino
