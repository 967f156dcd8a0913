"""A JSON file as the texts of its rows, so that one broken row costs itself and not the file.

Rows are read one after the other. Where one is no JSON, the next is looked for at the next object that begins with
the file's usual first key; what lies between counts as one broken row. Each row keeps its exact text: it is what is
remembered, and what a cleaned file is made of.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from o3v.errors import DataError

SPACE: Final = re.compile(r"[ \t\r\n,]*")
_FIRST_KEY = re.compile(r'\s*\{\s*"((?:[^"\\]|\\.)*)"\s*:')
_SHOWN = 60
_DECODER = json.JSONDecoder()

PATIENCE: Final = 20
"""Broken rows after which a file is decoded in windows."""

WINDOW_ROWS: Final = 8
"""Rows of a window; more than objects within a row that begin as a row does."""


@dataclass(frozen=True)
class RowText:
    """One row of a file.

    Attributes:
        number: from 1.
        text: exactly as in the file; bytes that are no UTF-8 stand as lone surrogates.
        fault: why it is no JSON; None for a row that is.
    """

    number: int
    text: str
    fault: str | None


def read_row_texts(path: Path) -> list[RowText]:
    """The rows of a file that is a JSON list, or one JSON object a line.

    Raises:
        DataError: no such file, not text at all, no list, or no row in it.
    """
    if not path.is_file():
        raise DataError(f"no file {path}: the rows to check; set paths.data_root or data.dataset.annotation_file")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    text = data.decode("utf-8-sig", errors="surrogateescape")
    begin = SPACE.match(text)
    start = begin.end() if begin else 0
    opening = text[start : start + 1]
    if opening not in ("[", "{"):
        raise DataError(f"{path}: wanted a JSON list of rows at the top, found {text[start : start + 20]!r}")
    rows = list(_scan(text, start + 1 if opening == "[" else start, opening == "["))
    if not rows:
        raise DataError(f"{path}: holds no row")
    return rows


def _scan(text: str, at: int, is_list: bool) -> Iterator[RowText]:
    """Rows from a position on."""
    next_row = _next_row_pattern(text, at)
    number, broken = 0, 0
    while True:
        at = _after_space(text, at)
        if at >= len(text) or (is_list and text[at] == "]" and _after_space(text, at + 1) >= len(text)):
            return
        number += 1
        fault: str | None = None
        try:
            end = _row_end(text, at, next_row if broken > PATIENCE else None)
        except (ValueError, RecursionError) as error:  # also numbers of thousands of digits, thousands of brackets
            fault = f"no JSON ({_reason(error)}): {text[at : at + _SHOWN]!r}"
            end = _next_row(text, at, next_row)
            broken += 1
        if fault is None:
            fault = _encoding_fault(text, at, end)
        yield RowText(number, text[at:end], fault)
        at = end


def _row_end(text: str, at: int, next_row: re.Pattern[str] | None) -> int:
    """Where the row that begins at a position ends.

    An error of the decoder costs the length of what it is given, because it counts lines. So a file with many broken
    rows is decoded in windows of some rows; a file without any never is.

    Raises:
        ValueError: it is no JSON. RecursionError: it is nested too deeply.
    """
    if next_row is None:
        return _DECODER.raw_decode(text, at)[1]
    starts = islice(next_row.finditer(text, at + 1), WINDOW_ROWS)
    window = text[at : max((found.start() for found in starts), default=len(text))]
    return at + _DECODER.raw_decode(window)[1]


def _after_space(text: str, at: int) -> int:
    found = SPACE.match(text, at)
    return found.end() if found else at


def _next_row_pattern(text: str, at: int) -> re.Pattern[str]:
    """Where a row begins: an object with the first key of the first object."""
    found = _FIRST_KEY.match(text, at) or _FIRST_KEY.search(text, at, at + 10_000)
    key = re.escape(found[1]) if found else "id"
    return re.compile(rf'\{{\s*"{key}"\s*:')


def _next_row(text: str, at: int, pattern: re.Pattern[str]) -> int:
    """End of a broken row: before the next one, or before the list's closing bracket."""
    found = pattern.search(text, at + 1)
    if found:
        return found.start()
    stripped = text.rstrip()
    return max(len(stripped) - 1, at + 1) if stripped.endswith("]") else len(text)


def _encoding_fault(text: str, start: int, end: int) -> str | None:
    try:
        text[start:end].encode("utf-8")
    except UnicodeEncodeError as error:
        byte = ord(text[start + error.start]) & 0xFF
        return f"not UTF-8: byte 0x{byte:02x} at character {error.start} of the row"
    return None


def _reason(error: Exception) -> str:
    return error.msg if isinstance(error, json.JSONDecodeError) else str(error).splitlines()[0]
