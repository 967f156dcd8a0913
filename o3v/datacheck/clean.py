"""The same file without the rows that have errors; what is left out is listed beside it."""

from __future__ import annotations

import os
from pathlib import Path

from o3v.datacheck.checking import Outcome
from o3v.datacheck.findings import first_errors
from o3v.errors import ConfigError, DataError, StorageError
from o3v.replay.files import same_file, write_lines


def left_out_path(path: Path) -> Path:
    """Where the rows that are left out are listed.

    >>> str(left_out_path(Path("a/STGR-RL.clean.json")))
    'a/STGR-RL.clean.left_out.jsonl'
    """
    return path.with_name(f"{path.stem}.left_out.jsonl")


def check_target(path: Path, annotation_file: Path | None) -> None:
    """Refuse what cannot be the place of a cleaned file, before anything is looked at.

    Raises:
        ConfigError: there is no file of rows to clean, or it is the file itself.
    """
    if annotation_file is None:
        raise ConfigError(f"clean={path}: the questions of a benchmark are not cleaned; give a data set with data=")
    if path.is_dir() or same_file(path, annotation_file):
        raise ConfigError(f"clean={path}: wanted the name of a new file, not of a folder or of {annotation_file}")


def write_clean(outcome: Outcome, path: Path) -> int:
    """Write the rows without errors exactly as they stand in the file, as a JSON list.

    Args:
        outcome: of the check.
        path: the file; it appears when it is whole.

    Returns:
        The number of rows that were kept.

    Raises:
        DataError: no row is left.
        StorageError: the file cannot be written.
    """
    errors = first_errors(outcome.findings)
    kept = [row.text for row in outcome.subject.texts if row.number not in errors]
    if not kept:
        raise DataError(f"clean={path}: no row is without errors, so no file is written")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_text("[\n" + ",\n".join(kept) + "\n]\n", encoding="utf-8")
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"{path}: cannot write ({error.strerror or error})") from error
    write_lines(left_out_path(path), (finding.as_line() for finding in errors.values()))
    return len(kept)
