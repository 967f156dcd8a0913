"""What earlier checks found, so that a second one only looks at what is new: one SQLite file.

Rows are known by the digest of their text, settings and rules; media files by path, size and time of change, settings
and rules. The rules' part is a digest of their source text, so that a changed rule looks at everything again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import o3v
from o3v.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger(__name__)

TABLES: Final = ("rows", "media")
WAIT_S: Final = 60.0
"""How long a check waits for another that writes."""

_RULES: Final = (
    "types.py",
    "data/rows.py",
    "data/timerft.py",
    "datacheck/facts.py",
    "datacheck/media.py",
    "datacheck/row_reading.py",
    "datacheck/row_rules.py",
    "datacheck/tokens.py",
    "grounding/boxes.py",
    "grounding/parse.py",
    "grounding/render.py",
    "prompts/system.py",
    "video/decode.py",
    "video/index.py",
    "video/sampling.py",
)


def digest(*parts: object) -> str:
    """Of some values, by their text.

    >>> digest("a", 1) == digest("a", 1) != digest("a1")
    True
    """
    joined = "\x1f".join(str(part) for part in parts)
    return hashlib.sha1(joined.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()


def rules_digest() -> str:
    """Of the source of all that decides what is remembered, and of the libraries that decode."""
    from importlib.metadata import version

    package = Path(o3v.__file__).parent
    sources = [(package / name).read_bytes() for name in _RULES if (package / name).is_file()]
    return digest(*sources, version("av"), version("pillow"))


class Memory:
    """The file; `path` None remembers nothing."""

    def __init__(self, path: Path | None) -> None:
        """Open, or start anew where the file cannot be read.

        Raises:
            StorageError: the file cannot be made.
        """
        self._path = path
        self._connection: sqlite3.Connection | None = None
        if path is None:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = _open(path)
        except sqlite3.DatabaseError as error:
            self._connection = self._anew(path, error)
        except OSError as error:
            raise StorageError(f"memory={path}: cannot be written ({error.strerror or error})") from error

    def find(self, table: str, keys: Iterable[str]) -> dict[str, Any]:
        """What is known of some keys.

        Args:
            table: rows or media.
            keys: of `digest`.
        """
        if self._connection is None:
            return {}
        wanted = list(keys)
        found: dict[str, Any] = {}
        for start in range(0, len(wanted), 500):
            part = wanted[start : start + 500]
            marks = ",".join("?" * len(part))
            query = f"SELECT key, value FROM {_checked(table)} WHERE key IN ({marks})"
            with self._reported():
                found.update((key, json.loads(value)) for key, value in self._connection.execute(query, part))
        return found

    def keep(self, table: str, values: Mapping[str, Any]) -> None:
        """Remember some values; done when this returns."""
        if self._connection is None or not values:
            return
        lines: Sequence[tuple[str, str]] = [(key, json.dumps(value)) for key, value in values.items()]
        with self._reported(), self._connection:
            self._connection.executemany(f"INSERT OR REPLACE INTO {_checked(table)} VALUES (?, ?)", lines)

    def close(self) -> None:
        """Release the file."""
        if self._connection is not None:
            self._connection.close()

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StorageError(f"memory={self._path}: {error}; delete the file, or set memory=null") from error

    @staticmethod
    def _anew(path: Path, error: Exception) -> sqlite3.Connection:
        aside = path.with_name(f"{path.name}.broken")
        log.warning("%s cannot be read (%s): set aside as %s, everything is looked at again", path, error, aside.name)
        try:
            path.replace(aside)
            return _open(path)
        except (OSError, sqlite3.Error) as again:
            raise StorageError(f"memory={path}: cannot be made ({again}); set memory=null to do without") from again


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=WAIT_S)
    try:
        with connection:
            for table in TABLES:
                connection.execute(
                    f"CREATE TABLE IF NOT EXISTS {table} (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID"
                )
            if connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                raise sqlite3.DatabaseError("damaged")
    except sqlite3.DatabaseError:
        connection.close()
        raise
    return connection


def _checked(table: str) -> str:
    if table not in TABLES:
        raise ValueError(f"table {table!r}: allowed are {TABLES}")
    return table
