"""The record of a run in its own folder: metrics.jsonl, tables/*.jsonl, images/*. Cheap, and always written.

It is the source that every other place is filled from (`delivery.py`): the lines of metrics.jsonl carry the time at
which they were written, so a line that is sent twice is the same point, which MLflow keeps once.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from o3v.errors import DataError
from o3v.tracking.run import RunFolder, storage

if TYPE_CHECKING:
    from PIL.Image import Image

METRICS = "metrics.jsonl"

RECORD = (METRICS, "outbox.jsonl", "tables", "images", "params.json", "tags.json", "status.json", "mlflow.json")
"""Everything that trackers keep in a run's folder."""


def cut_partial_line(path: Path) -> None:
    """Cuts what follows the last newline of a file: the line that a killed process had begun. Absent file: nothing."""
    if not path.is_file():
        return
    with storage(path), path.open("rb+") as handle:
        end = handle.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - 65536)
            handle.seek(start)
            newline = handle.read(end - start).rfind(b"\n")
            if newline >= 0:
                handle.truncate(start + newline + 1)
                return
            end = start
        handle.truncate(0)


def read_lines(path: Path, start_byte: int = 0) -> Iterator[tuple[int, dict[str, Any]]]:
    """The JSON objects of a file, one a line, each with the byte after its line, from which reading can go on.

    A last line without newline is not yet written and left out; an absent file has no lines.

    Raises:
        DataError: a complete line that is not a JSON object; names file and line.
    """
    if not path.is_file():
        return
    with path.open("rb") as handle:
        handle.seek(start_byte)
        end = start_byte
        for line in handle:
            if not line.endswith(b"\n"):
                return
            yield end + len(line), _parse_line(line, path, end)
            end += len(line)


def _parse_line(line: bytes, path: Path, start_byte: int) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError as error:
        problem = str(error)
    else:
        if isinstance(value, dict):
            return value
        problem = f"a JSON object is expected, not {type(value).__name__}"
    number = path.read_bytes()[:start_byte].count(b"\n") + 1
    raise DataError(f"{path}:{number}: {problem}")


def file_name(key: str) -> str:
    """A metric's or table's key as a file name: everything but letters, digits, `.`, `_`, `-` becomes `_`.

    >>> file_name("train/reward: ans_acc")
    'train_reward_ans_acc'
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "_", key).strip("._") or "unnamed"


class Journal:
    """Appends to the record of one run, and leaves out what an earlier life of the run had recorded already.

    A run that is continued from a checkpoint repeats the steps after it. Points of a key at a step that this key had
    reached before the journal was opened are therefore dropped; within one life nothing is ever dropped. Steps count
    from 0. A value that is not finite is written as Python's JSON does (`NaN`, `Infinity`).

    Args:
        folder: the run's folder; opened for writing at once (StorageError where it cannot be).
    """

    def __init__(self, folder: RunFolder) -> None:
        self._root = folder.path
        folder.create()
        cut_partial_line(self.metrics_path)
        self._last_step = _last_steps(read_lines(self.metrics_path))
        self._table_steps: dict[str, int] = {}
        self._seen_images = {path.name for path in (self._root / "images").glob("*.png")}

    @property
    def metrics_path(self) -> Path:
        """The file of metrics: one JSON object a line with `step`, `time_ms` and `values`."""
        return self._root / METRICS

    def add_metrics(self, values: Mapping[str, float], step: int) -> bool:
        """Appends one line with the values that are new at this step; False where none was."""
        new = {key: float(value) for key, value in values.items() if step > self._last_step.get(key, -1)}
        if new:
            record = {"step": step, "time_ms": time.time_ns() // 1_000_000, "values": new}
            self._append(self.metrics_path, [record])
        return bool(new)

    def add_table(self, name: str, rows: Sequence[Mapping[str, Any]], step: int) -> bool:
        """Appends rows, each with its `step`; False where the table had reached this step in an earlier life.

        A cell that is a picture is saved beside the table, and its row holds `{"type": "picture", "file": ...}`.
        """
        path = self._root / "tables" / f"{file_name(name)}.jsonl"
        if name not in self._table_steps:
            cut_partial_line(path)
            self._table_steps[name] = max((int(row["step"]) for _, row in read_lines(path)), default=-1)
        if step <= self._table_steps[name]:
            return False
        kept = [self._keep_pictures(row, f"tables/{path.stem}/{step:08d}_{n}") for n, row in enumerate(rows)]
        self._append(path, [{"step": step, **row} for row in kept])
        return True

    def _keep_pictures(self, row: Mapping[str, Any], place: str) -> dict[str, Any]:
        kept = dict(row)
        for column, cell in row.items():
            if callable(getattr(cell, "thumbnail", None)):  # without importing PIL for runs that have no pictures
                file = f"{place}_{file_name(column)}.png"
                target = self._root / file
                with storage(target):
                    target.parent.mkdir(parents=True, exist_ok=True)
                    cell.save(target)
                kept[column] = {"type": "picture", "file": file}
        return kept

    def add_image(self, key: str, image: Image, step: int) -> Path | None:
        """Saves a PNG and returns its path; None where an earlier life had saved it."""
        path = self._root / "images" / f"{file_name(key)}_{step:08d}.png"
        if path.name in self._seen_images:
            return None
        with storage(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path)
        return path

    def _append(self, path: Path, records: Sequence[Mapping[str, Any]]) -> None:
        text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        with storage(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with path.open("a", encoding="utf-8") as handle:
                    handle.write(text)
            except OSError:  # a full disk may have taken a part: the next line must not be joined to it
                cut_partial_line(path)
                raise


def set_aside(folder: RunFolder) -> Path | None:
    """Moves the record of earlier lives into `earlier-N`, so that the next life is recorded afresh as a run of its own.

    For a finished run that is run again on purpose: continuing its record would drop every step as known.

    Returns:
        The folder that the record lies in now; None where there was none.

    Raises:
        StorageError: nothing can be moved.
    """
    there = [folder.path / name for name in RECORD if (folder.path / name).exists()]
    if not there:
        return None
    number = 1 + sum(1 for _ in folder.path.glob("earlier-*"))
    aside = folder.path / f"earlier-{number}"
    with storage(aside):
        aside.mkdir()
        for path in there:
            path.rename(aside / path.name)
    return aside


def _last_steps(records: Iterator[tuple[int, dict[str, Any]]]) -> dict[str, int]:
    last: dict[str, int] = {}
    for _, record in records:
        for key in record["values"]:
            last[key] = max(last.get(key, -1), int(record["step"]))
    return last
