"""Saved answers of other programs: question id -> text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from o3v.errors import DataError

ID_KEYS: Final = ("question_id", "id")
TEXT_KEYS: Final = ("response", "prediction", "text", "answer")


def read_answers(path: Path) -> dict[str, str]:
    """Answers of a file; a null answer is the empty one.

    Formats: a JSON object id -> text; a JSON list, or JSON lines, of objects with `question_id` (or `id`) and
    `response` (or `prediction`, `text`, `answer`); Video-MME's own form, a list of videos whose `questions` are such
    objects. Trailing commas, which Video-MME's template has, are not JSON and are named.

    Raises:
        DataError: another form, or two answers to one question; names the file and the place.
    """
    found: dict[str, str] = {}
    for place, key, text in _pairs(_content(path), str(path)):
        if key in found:
            raise DataError(f"{place}: a second answer to question {key!r}")
        found[key] = text
    return found


def _content(path: Path) -> Any:
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        return json.loads(text)
    except ValueError as whole:
        try:
            return [json.loads(line) for line in text.splitlines() if line.strip()]
        except ValueError:
            raise DataError(f"{path}: neither JSON nor JSON lines ({whole})") from whole


def _pairs(content: Any, place: str) -> Iterator[tuple[str, str, str]]:
    if isinstance(content, dict):
        for key, text in content.items():
            yield place, str(key), _text(text, f"{place}: {key}")
        return
    if not isinstance(content, list):
        raise DataError(f"{place}: neither an object nor a list")
    for index, row in enumerate(content):
        here = f"{place}: entry {index}"
        if not isinstance(row, dict):
            raise DataError(f"{here}: not an object")
        if isinstance(row.get("questions"), list):
            yield from _pairs(row["questions"], here)
        else:
            text_key = _first(row, TEXT_KEYS, here)
            yield here, str(row[_first(row, ID_KEYS, here)]), _text(row[text_key], f"{here}: {text_key}")


def _first(row: Mapping[str, Any], keys: tuple[str, ...], place: str) -> str:
    for key in keys:
        if key in row:
            return key
    raise DataError(f"{place}: none of {list(keys)}; it has {sorted(row)}")


def _text(value: object, place: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise DataError(f"{place}: {value!r} is no text")
    return value
