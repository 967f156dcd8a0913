"""Annotated multiple-choice questions, the files they come in, and their media on disk."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from o3v.benchmarks.mcq.letters import option_letters
from o3v.errors import ConfigError, DataError

log = logging.getLogger(__name__)

Kind = Literal["choice", "open"]

VIDEO_SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov")
_NAMED = 3  # how many missing files a message names


@dataclass(frozen=True)
class ChoiceRow:
    """One annotated question.

    Attributes:
        id: unique in the benchmark.
        item: id of the video or item that it belongs to.
        video: media file; need not exist.
        question: as published.
        options: as published, with or without their letters; empty for open questions.
        answer: the right letter; for open questions the annotated text.
        kind: `choice` or `open`.
        fields: name of a field -> its values for this question (mostly one); numbers are shown by them.
        pictures: further pictures that the question refers to, in order.
        subtitle: file with the video's subtitles; None to show none.
    """

    id: str
    item: str
    video: Path
    question: str
    options: tuple[str, ...]
    answer: str
    kind: Kind
    fields: Mapping[str, tuple[str, ...]]
    pictures: tuple[Path, ...] = ()
    subtitle: Path | None = None

    @property
    def letters(self) -> tuple[str, ...]:
        """Letters of the options."""
        return option_letters(len(self.options))


def listed(text: str) -> tuple[str, ...]:
    """Names of a list in prose.

    >>> listed("Film & TV, Games")
    ('Film & TV', 'Games')
    """
    return tuple(text.split(", "))


def read_table(path: Path) -> list[dict[str, Any]]:
    """Rows of a parquet or JSON file (a list of objects).

    Raises:
        ConfigError: no such file.
        DataError: it cannot be read; names the file.
    """
    if path.suffix != ".parquet":
        rows = read_json(path)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise DataError(f"{path}: not a list of objects")
        return rows
    _need_file(path)
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import read_table as read_parquet
    except ImportError as error:
        raise ConfigError(f"{path}: reading parquet needs pyarrow ({error})") from error
    try:
        table: list[dict[str, Any]] = read_parquet(path).to_pylist()
    except (ArrowException, OSError) as error:
        raise DataError(f"{path}: not a parquet file ({error})") from error
    return table


def read_json(path: Path) -> Any:
    """A JSON file's content.

    Raises:
        ConfigError: no such file.
        DataError: broken JSON; names the file.
    """
    _need_file(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise DataError(f"{path}: not JSON ({error})") from error


def text_of(row: Mapping[str, Any], key: str, place: str) -> str:
    """A field that must be a text.

    Raises:
        DataError: missing or no text; names field and place.
    """
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{place}: {key}={value!r}; a text is needed")
    return value


def options_of(row: Mapping[str, Any], key: str, place: str) -> tuple[str, ...]:
    """A field that must be a list of texts; at most 26.

    Raises:
        DataError: anything else; names field and place.
    """
    value = row.get(key)
    if not isinstance(value, Sequence) or isinstance(value, str) or not all(isinstance(v, str) for v in value):
        raise DataError(f"{place}: {key}={value!r}; a list of texts is needed")
    if len(value) > 26:
        raise DataError(f"{place}: {key} has {len(value)} options; there are 26 letters")
    return tuple(value)


def letter_of(row: Mapping[str, Any], key: str, options: Sequence[str], place: str) -> str:
    """A field that must be the letter of an option.

    Raises:
        DataError: it is none; names the value, place and allowed letters.
    """
    letters = option_letters(len(options))
    value = row.get(key)
    if value not in letters:
        raise DataError(f"{place}: {key}={value!r}; the options have {list(letters)}")
    return str(value)


def unique_rows(rows: Sequence[ChoiceRow], place: Path) -> tuple[ChoiceRow, ...]:
    """Rows by id.

    Raises:
        DataError: no row, or two with one id; names the file.
    """
    if not rows:
        raise DataError(f"{place}: no questions")
    by_id = {row.id: row for row in rows}
    if len(by_id) < len(rows):
        seen: set[str] = set()
        twice = next(row.id for row in rows if row.id in seen or seen.add(row.id))  # type: ignore[func-returns-value]
        raise DataError(f"{place}: question id {twice!r} occurs twice")
    return tuple(by_id[key] for key in sorted(by_id))


def find_video(folders: Sequence[Path], name: str) -> Path:
    """The video of a name in the first folder that has it; where none has, its usual place in the first folder."""
    found = (folder / f"{name}{suffix}" for folder in folders for suffix in VIDEO_SUFFIXES)
    return next((path for path in found if path.is_file()), folders[0] / f"{name}{VIDEO_SUFFIXES[0]}")


def check_files(paths: Iterable[Path], what: str, benchmark: str, hint: str) -> None:
    """Look that files are there.

    Args:
        paths: files; equal ones count once.
        what: their kind in words, plural.
        benchmark: its name.
        hint: what would mend it.

    Raises:
        ConfigError: some are missing; names how many, the first three, and the hint.
    """
    asked = sorted(set(paths))
    missing = [path for path in asked if not path.is_file()]
    if missing:
        named = ", ".join(str(path) for path in missing[:_NAMED])
        more = ", ..." if len(missing) > _NAMED else ""
        raise ConfigError(f"{benchmark}: {len(missing)} of {len(asked)} {what} are missing: {named}{more}; {hint}")
    log.info("%s: %d %s", benchmark, len(asked), what)


def check_choice(key: str, value: object, allowed: Collection[str]) -> None:
    """Raises ConfigError where a value of the configuration is not an allowed one."""
    if value not in allowed:
        raise ConfigError(f"benchmark.{key}={value!r}: allowed are {list(allowed)}")


def _need_file(path: Path) -> None:
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; set benchmark.root to the folder of the published data")
