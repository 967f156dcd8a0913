"""Replies kept on disk under the hash of what was asked: one file each, safe for several processes and a kill."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from o3v.tracking.run import write_atomically


def request_key(*parts: object) -> str:
    """sha256 over the canonical JSON of what was asked and who was, 64 hex characters.

    >>> request_key("model", [{"role": "user"}])[:8] == request_key("model", [{"role": "user"}])[:8]
    True
    """
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class KeptFiles:
    """Small records by key.

    Attributes:
        folder: below it `KK/KEY.json`. A file that is deleted or broken is as if it had never been there.
    """

    folder: str

    def read(self, key: str) -> dict[str, Any] | None:
        """The record of a key; None where there is none that can be read."""
        try:
            found = json.loads(self._place(key).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return None
        return found if isinstance(found, dict) else None

    def write(self, key: str, record: Mapping[str, Any]) -> None:
        """Keep a record, in one atomic step. Raises StorageError."""
        write_atomically(self._place(key), json.dumps(record, ensure_ascii=True) + "\n")

    def _place(self, key: str) -> Path:
        return Path(self.folder) / key[:2] / f"{key}.json"
