"""Files of a replay: written whole or not at all; rollouts appended line by line."""

from __future__ import annotations

import gzip
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from o3v.errors import StorageError


def write_lines(path: Path, objects: Iterable[Mapping[str, Any]]) -> None:
    """JSON lines, packed where the name ends with `.gz`; the file appears when all lines are written.

    Raises:
        StorageError: the place cannot be written.
    """
    with _appearing(path) as temporary, _opened(path, temporary) as handle:
        for one in objects:
            handle.write(json.dumps(one, ensure_ascii=True) + "\n")


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """One JSON object, readable by eye; raises as `write_lines`."""
    with _appearing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2) + "\n")


def summary_path(out: Path) -> Path:
    """Where the summary of a file of scores is written.

    >>> str(summary_path(Path("a/scores.jsonl.gz")))
    'a/scores.summary.json'
    """
    stem = re.sub(r"(\.jsonl?)?(\.gz)?$", "", out.name)
    return out.with_name(f"{stem}.summary.json")


def same_file(a: Path, b: Path) -> bool:
    """Do two paths name one file that exists."""
    return a.exists() and b.exists() and a.samefile(b)


def safe_name(text: str) -> str:
    """A file name of letters, digits, dots and dashes.

    >>> safe_name("step-10/shapes 3")
    'step-10-shapes-3'
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")[:120] or "line"


class RolloutFile:
    """The rollouts of a run, appended by step; a continued run replaces the steps that it does again.

    Args:
        path: the file; made at the first line.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._begun = False

    def append(self, step: int, objects: Iterable[Mapping[str, Any]]) -> None:
        """Lines of one step, with the key `step` in each.

        Raises:
            StorageError: the place cannot be written.
        """
        try:
            if not self._begun:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._forget_from(step)
                self._begun = True
            with self._path.open("a", encoding="utf-8") as handle:
                handle.writelines(json.dumps({**one, "step": step}) + "\n" for one in objects)
        except OSError as error:
            raise StorageError(f"{self._path}: cannot write ({error.strerror or error})") from error

    def _forget_from(self, step: int) -> None:
        """Drop the lines of this step and of later ones, and a line that was cut off."""
        if not self._path.exists():
            return
        *lines, _ = self._path.read_text(encoding="utf-8").split("\n")
        kept = [line for line in lines if json.loads(line)["step"] < step]
        with _appearing(self._path) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")


@contextmanager
def _appearing(path: Path) -> Iterator[Path]:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"{path}: cannot write ({error.strerror or error})") from error


def _opened(path: Path, temporary: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(temporary, "wt", encoding="utf-8")
    return temporary.open("w", encoding="utf-8")
