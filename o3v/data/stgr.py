"""The official STGR files -> Samples: `json_data/*.json` beside `videos/`, as published with Open-o3 Video.

A row that does not validate or whose media file is missing becomes a fault; the others go on. Too many faults, a
missing folder or broken JSON stop with a `DataError`.
"""

from __future__ import annotations

import json
import os
import stat
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from o3v.data.faults import Fault, check_share
from o3v.data.rows import RowError, media_folder, read_row
from o3v.errors import DataError
from o3v.types import Sample


@dataclass(frozen=True)
class StgrRows:
    """What a file holds.

    Attributes:
        samples: the valid rows, in the order of the file.
        faults: the others.
    """

    samples: tuple[Sample, ...]
    faults: tuple[Fault, ...]

    @property
    def n_rows(self) -> int:
        """Rows in the file."""
        return len(self.samples) + len(self.faults)


@dataclass(frozen=True)
class StgrDataset:
    """One annotation file of the official layout, read at first use.

    Attributes:
        root: the folder that holds `json_data` and `videos` (configuration key paths.data_root).
        annotation_file: the JSON file, relative to `root`.
        max_fault_share: share of faulty rows above which `samples` stops, 0 to 1.
    """

    root: str | Path
    annotation_file: str
    max_fault_share: float

    def samples(self) -> list[Sample]:
        """The valid rows.

        Raises:
            DataError: no such folder or file, broken JSON, or too many faulty rows.
        """
        rows = self._rows
        check_share(rows.faults, rows.n_rows, self.max_fault_share, str(Path(self.root) / self.annotation_file))
        return list(rows.samples)

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The rows that `samples` leaves out, for the run's list of faults."""
        return self._rows.faults

    @cached_property
    def _rows(self) -> StgrRows:
        return read_stgr(Path(self.root) / self.annotation_file, Path(self.root))


def read_stgr(path_json: Path, data_root: Path) -> StgrRows:
    """Read and validate an annotation file.

    Ids that are missing or used twice get the row's number, so that every sample's id is unique and stays the same.

    Args:
        path_json: the annotation file: a JSON list of objects.
        data_root: holds `videos`.

    Raises:
        DataError: the folder or file is missing, or is no JSON list of rows.
    """
    rows = _read_json(path_json, data_root)
    ids = _unique_ids(rows)
    samples: list[Sample] = []
    faults: list[Fault] = []
    for row, sample_id in zip(rows, ids, strict=True):
        result = _read_one(row, sample_id, data_root)
        if isinstance(result, Fault):
            faults.append(result)
        else:
            samples.append(result)
    return StgrRows(tuple(samples), tuple(faults))


def _read_json(path: Path, data_root: Path) -> list[Any]:
    if not data_root.is_dir():
        raise DataError(f"no folder {data_root}; set paths.data_root to the folder that holds json_data and videos")
    if not path.is_file():
        raise DataError(f"no file {path}; paths.data_root={data_root} must hold the annotation file of the data set")
    try:
        rows = json.loads(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: broken JSON at line {error.lineno}, column {error.colno}: {error.msg}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text (byte {error.start})") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, thousands of brackets
        raise DataError(f"{path}: cannot be read as JSON ({error})") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    if not isinstance(rows, list) or not rows:
        raise DataError(f"{path}: wanted a JSON list of rows at the top, found {_kind(rows)}")
    return rows


def _kind(value: object) -> str:
    return "an empty list" if value == [] else f"a {type(value).__name__}"


def _unique_ids(rows: list[Any]) -> list[str]:
    """The published ids; `row-N` where there is none, `ID@row-N` where one is used again (N counts from 1)."""
    published = [_published_id(row) for row in rows]
    used = Counter(published)
    numbered = enumerate(published, start=1)
    return [f"row-{n}" if not name else name if used[name] == 1 else f"{name}@row-{n}" for n, name in numbered]


def _published_id(row: object) -> str:
    value = row.get("id") if isinstance(row, Mapping) else None
    return str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""


def _read_one(row: Any, sample_id: str, data_root: Path) -> Sample | Fault:
    """A row's sample, or why there is none."""
    if not isinstance(row, Mapping):
        return Fault(sample_id, "?", "row", f"wanted an object, found {_kind(row)}")
    try:
        sample = read_row(row, sample_id, data_root)
    except RowError as error:
        return Fault(sample_id, str(row.get("source") or "?"), "row", str(error))
    return _media_fault(sample, data_root) or sample


def _media_fault(sample: Sample, data_root: Path) -> Fault | None:
    """Why the media file cannot be used, without opening it: one `lstat` a file, folders resolved once.

    The folder of a source may be a link to another disk; a link inside it must lead neither out of it nor of the root.
    """
    is_image = sample.video_path is None
    field, path = ("image_path", sample.image_path) if is_image else ("video_path", sample.video_path)
    assert path is not None, "read_row sets one of the two"
    found = place_fault(path, data_root, data_root / media_folder(sample.source, is_image))
    return Fault(sample.id, sample.source, found[0], f"{field}: {found[1]}") if found else None


def place_fault(path: Path, data_root: Path, folder: Path) -> tuple[str, str] | None:
    """Why a media file cannot be used, without opening it: (`row` or `missing media`, reason); None where it can.

    Args:
        path: the file, below `folder`.
        data_root: where links may lead.
        folder: of the source's media; it may be a link, and links inside it may lead anywhere below its target.
    """
    try:
        is_link = stat.S_ISLNK(os.lstat(path).st_mode)
    except OSError:
        return "missing media", f"{path} does not exist"
    except ValueError:  # half of a surrogate pair: no name of a file
        return "row", f"{str(path)!r} cannot be a file's name"
    target = Path(os.path.realpath(path)) if is_link else _real_folder(path.parent) / path.name
    if not any(target.is_relative_to(_real_folder(place)) for place in (data_root, folder)):
        return "row", f"{path} leads out of the data root {data_root}"
    if not target.is_file():
        return "missing media", f"{path} is not a file"
    return None


@cache
def _real_folder(folder: Path) -> Path:
    return Path(os.path.realpath(folder))
