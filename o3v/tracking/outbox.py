"""What is to be told to a tracking server beside metrics and tables: one JSON object a line, in the run's folder.

The training thread only appends; a sender works the lines off in order (`delivery.py`). Every operation can be done
twice without harm, so a crash between doing and noting loses and doubles nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from o3v.tracking.journal import cut_partial_line
from o3v.tracking.run import RunFolder, storage

OUTBOX = "outbox.jsonl"


class Outbox:
    """Appends operations to outbox.jsonl of one run.

    Args:
        folder: the run's folder, which exists.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._root = folder.path
        self._path = folder.path / OUTBOX
        cut_partial_line(self._path)

    def params(self, values: Mapping[str, str]) -> None:
        """Parameters; one whose name the server has keeps its first value."""
        self._add("params", values=dict(values))

    def tags(self, values: Mapping[str, str]) -> None:
        """Tags; the last value counts."""
        self._add("tags", values={key: str(value) for key, value in values.items()})

    def image(self, path: Path, key: str, step: int) -> None:
        """A picture file of the series `key`."""
        self._add("image", file=self._place(path), key=key, step=step)

    def artifact(self, path: Path, folder: str) -> None:
        """A file as it stands when it is sent."""
        self._add("artifact", file=self._place(path), folder=folder)

    def status(self, status: str) -> None:
        """RUNNING at a start, or how the life of the run ended."""
        self._add("status", status=status)

    def _place(self, path: Path) -> str:
        """Relative to the run's folder where it lies in it, so that the folder can be moved before it is sent."""
        absolute, root = path.absolute(), self._root.absolute()
        return str(absolute.relative_to(root)) if absolute.is_relative_to(root) else str(absolute)

    def _add(self, operation: str, **values: Any) -> None:
        record = {"op": operation, "time_ms": time.time_ns() // 1_000_000, **values}
        with storage(self._path), self._path.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(record, ensure_ascii=False) + "\n")
