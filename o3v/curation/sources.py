"""Rows to curate: a JSON or JSON-lines file of one's own, or a file in the official STGR layout.

One's own rows have `video` (below the media root) and any of `id`, `source`, `task`, `question`, `answer`,
`description`, `reasoning` and `span` (`[start, end]` in seconds). A row that cannot be used is dropped with its reason.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from o3v.curation.items import DROPPED, Candidate, Decision
from o3v.data.stgr import read_stgr
from o3v.errors import ConfigError, DataError
from o3v.types import Sample, Span, Task

STAGE = "read"
LAYOUTS = ("plain", "stgr")
FIELDS = frozenset({"id", "source", "task", "video", "question", "answer", "description", "reasoning", "span"})


def read_sources(rows: Path, layout: str, media_root: Path) -> tuple[tuple[Candidate, ...], tuple[Decision, ...]]:
    """Candidates of a file, and a decision for each row that is none.

    Args:
        rows: the file.
        layout: `plain` or `stgr`.
        media_root: plain: the folder below which videos lie; stgr: the data root with `videos`.

    Raises:
        ConfigError: another layout.
        DataError: no such file or folder, broken JSON, no rows.
    """
    if layout not in LAYOUTS:
        raise ConfigError(f"layout={layout!r} is not allowed; allowed are {list(LAYOUTS)}")
    if not media_root.is_dir():
        raise DataError(f"no folder {media_root}; set media_root to the folder below which the videos lie")
    return _read_stgr(rows, media_root) if layout == "stgr" else _read_plain(rows, media_root)


def inside(root: Path, relative: str) -> Path | None:
    """The file `root / relative` where it is one and lies inside the root, links followed; else None.

    >>> inside(Path("/usr"), "../etc/passwd") is None
    True
    """
    path = PurePosixPath(relative)
    if path.is_absolute() or ".." in path.parts or "\0" in relative:
        return None
    try:
        found = (root / path).resolve()
        return found if found.is_file() and found.is_relative_to(root.resolve()) else None
    except OSError:
        return None


def _read_stgr(rows: Path, root: Path) -> tuple[tuple[Candidate, ...], tuple[Decision, ...]]:
    found = read_stgr(rows, root)
    candidates = tuple(_from_sample(sample, root) for sample in found.samples if sample.video_path is not None)
    faults = [_dropped(fault.sample_id, fault.where, fault.reason) for fault in found.faults]
    images = [_dropped(sample.id, "no video", "") for sample in found.samples if sample.video_path is None]
    return candidates, (*faults, *images)


def _from_sample(sample: Sample, root: Path) -> Candidate:
    assert sample.video_path is not None, "the caller looks"
    return Candidate(
        id=sample.id,
        source=sample.source,
        task=str(sample.task),
        video=sample.video_path.relative_to(root).as_posix(),
        question=sample.question,
        answer=sample.answer,
        description="",
        span_s=sample.span_s,
        duration_s=0.0,
        reasoning=sample.reasoning,
        key_frames=(),
    )


def _read_plain(rows: Path, root: Path) -> tuple[tuple[Candidate, ...], tuple[Decision, ...]]:
    candidates: dict[str, Candidate] = {}
    decisions: list[Decision] = []
    for number, row in enumerate(_plain_rows(rows), start=1):
        try:
            one = _from_row(row, f"row-{number}", root)
        except ValueError as error:
            decisions.append(_dropped(f"row-{number}", "row", str(error)))
            continue
        name = one.id if one.id not in candidates else f"{one.id}@row-{number}"
        candidates[name] = replace(one, id=name)
    return tuple(candidates.values()), tuple(decisions)


def _plain_rows(path: Path) -> Iterator[Any]:
    """Rows of a JSON list or of JSON lines."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise DataError(f"rows={path}: cannot be read ({error.strerror})") from error
    if text.lstrip()[:1] == "[":
        rows = _parsed(text, f"{path}")
    else:
        rows = [_parsed(line, f"{path}:{n}") for n, line in enumerate(text.splitlines(), start=1) if line.strip()]
    if not rows:
        raise DataError(f"{path}: no rows")
    yield from rows


def _parsed(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place}: not JSON ({error})") from error


def _from_row(row: Any, name: str, root: Path) -> Candidate:
    """A plain row's candidate; ValueError says what is wrong with it."""
    if not isinstance(row, Mapping):
        raise ValueError("wanted an object")
    if row.keys() - FIELDS:
        raise ValueError(f"unknown {sorted(map(str, row.keys() - FIELDS))}, allowed are {sorted(FIELDS)}")
    texts = {key: _text(row, key) for key in FIELDS - {"span", "id"}}
    if inside(root, texts["video"]) is None:
        raise ValueError(f"video {texts['video']!r} is no file below {root}")
    texts["source"] = texts["source"] or "own"
    task = texts.pop("task") or str(Task.TEMPORAL_SPATIAL)
    if task not in [str(known) for known in Task]:
        raise ValueError(f"task {task!r}, allowed are {[str(known) for known in Task]}")
    given = row.get("id")
    known_id = str(given) if isinstance(given, str | int) and not isinstance(given, bool) and given != "" else name
    return Candidate(id=known_id, task=task, span_s=_span(row), duration_s=0.0, key_frames=(), **texts)


def _text(row: Mapping[str, Any], key: str) -> str:
    value = row.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"{key} {value!r}, wanted a text")
    return value.encode("utf-8", "replace").decode("utf-8")


def _span(row: Mapping[str, Any]) -> Span | None:
    value = row.get("span")
    if value is None or value == []:
        return None
    numbers = value if isinstance(value, list) and len(value) == 2 else ["?"]
    if not all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in numbers):
        raise ValueError(f"span {value!r}, wanted [start, end] in seconds")
    return float(numbers[0]), float(numbers[1])


def _dropped(name: str, reason: str, detail: str) -> Decision:
    return Decision(name, STAGE, DROPPED, reason, {"detail": detail} if detail else {})
