"""The slow part of a check, in worker processes: rows read, media opened; nothing that is known is done again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from o3v.data.stgr import place_fault
from o3v.datacheck.facts import MediaFacts, RowFacts, unknown_row, unusable
from o3v.datacheck.findings import Fact
from o3v.datacheck.media import Decode, MediaJob, look
from o3v.datacheck.memory import Memory, digest
from o3v.datacheck.pool import Failure, PoolSettings, run_jobs
from o3v.datacheck.row_reading import RowSettings, read_batch
from o3v.datacheck.row_text import RowText
from o3v.video.sampling import FrameSampling

BATCH_ROWS: Final = 500
"""Rows that a worker reads at a time."""

KEPT_AT_ONCE: Final = 200
"""Media after which the memory is written, so that an interrupted check goes on there."""

Progress = Callable[[str, int, int], None]
"""Told what is being looked at, how much of it is done, and how much there is."""


@dataclass(frozen=True)
class Place:
    """Where a media file is.

    Attributes:
        path: as rows name it.
        is_image: how it is read.
        fault: why it cannot be used, for a file that is missing or leads out of its folder.
        size: bytes; None with a fault.
        changed_ns: time of its last change.
    """

    path: Path
    is_image: bool
    fault: str | None
    size: int | None
    changed_ns: int


@dataclass(frozen=True)
class Counts:
    """What was looked at, and what was known."""

    looked: int
    known: int


def read_rows(
    texts: Sequence[RowText], settings: RowSettings, pool: PoolSettings, memory: Memory, rules: str, progress: Progress
) -> tuple[list[RowFacts], Counts]:
    """Facts of every row, in the order of the file.

    A batch that passes the time limit is read again row by row, so that only the row that does it is lost.

    Args:
        texts: the rows.
        settings: how they are read.
        pool: workers and limits.
        memory: of earlier checks.
        rules: digest of the rules.
        progress: told what is done.
    """
    prefix = digest(rules, settings)
    keys = {row.number: digest(prefix, row.text) for row in texts if row.fault is None}
    known = memory.find("rows", set(keys.values()))
    new = {keys[row.number]: row.text for row in texts if row.fault is None and keys[row.number] not in known}
    for key, facts in _read_new(list(new.items()), settings, pool, memory, progress):
        known[key] = facts
    rows = []
    for row in texts:
        if row.fault is None:
            rows.append(RowFacts.from_dict(known[keys[row.number]]))
        else:
            rows.append(unknown_row(Fact("broken_json", f"row: {row.fault}")))
    return rows, Counts(len(new), len(keys) - len(new))


def _read_new(
    rows: list[tuple[str, str]], settings: RowSettings, pool: PoolSettings, memory: Memory, progress: Progress
) -> Iterable[tuple[str, dict[str, Any]]]:
    """(key, facts) of rows that are not known yet."""
    batches = [rows[start : start + BATCH_ROWS] for start in range(0, len(rows), BATCH_ROWS)]
    jobs = [(settings, [text for _, text in batch]) for batch in batches]
    again: list[tuple[str, str]] = []
    done = 0
    for index, result in run_jobs(read_batch, jobs, pool):
        if isinstance(result, Failure):
            again += batches[index]
            continue
        found = {key: facts for (key, _), facts in zip(batches[index], result, strict=True)}
        memory.keep("rows", found)
        done += len(found)
        progress("rows", done, len(rows))
        yield from found.items()
    for index, result in run_jobs(read_batch, [(settings, [text]) for _, text in again], pool):
        lost = isinstance(result, Failure)
        facts = unknown_row(Fact("row_time_limit", f"row: {result.reason}")).as_dict() if lost else result[0]
        done += 1
        progress("rows", done, len(rows))
        yield again[index][0], facts


def find_places(rows: Iterable[RowFacts], root: Path) -> dict[str, Place]:
    """Every media file that rows name: is it there, where it may be."""
    places: dict[str, Place] = {}
    for row in rows:
        if row.media is not None and row.media not in places:
            places[row.media] = _place(Path(row.media), row.is_image, root, Path(row.folder or root))
    return places


def _place(path: Path, is_image: bool, root: Path, folder: Path) -> Place:
    found = place_fault(path, root, folder)
    if found is not None:
        return Place(path, is_image, found[1], None, 0)
    try:
        state = path.stat()
    except OSError as error:
        return Place(path, is_image, f"{path} cannot be looked at ({error.strerror})", None, 0)
    return Place(path, is_image, None, state.st_size, state.st_mtime_ns)


def look_at_media(
    places: Mapping[str, Place],
    decode: Decode,
    sampling: FrameSampling | None,
    pool: PoolSettings,
    memory: Memory,
    rules: str,
    progress: Progress,
) -> tuple[dict[str, MediaFacts], Counts]:
    """Facts of every media file that is there.

    A file that passed the time limit or ended its worker is looked at again by the next check, since another load of
    the machine may have been the cause; everything else is remembered.

    Args:
        places: path -> where it is.
        decode: what of a video is decoded.
        sampling: the even spread of `decode="sampled"`.
        pool: workers and limits.
        memory: of earlier checks.
        rules: digest of the rules.
        progress: told what is done.
    """
    spread = sampling if decode == "sampled" else None
    there = {path: place for path, place in places.items() if place.fault is None}
    keys = {
        path: digest(rules, place.path.absolute(), place.size, place.changed_ns, place.is_image, decode, spread)
        for path, place in there.items()
    }
    found = {key: MediaFacts(**value) for key, value in memory.find("media", set(keys.values())).items()}
    new = [path for path in there if keys[path] not in found]
    fresh: dict[str, Any] = {}
    jobs = [MediaJob(path, there[path].is_image, decode, spread) for path in new]
    for done, (index, result) in enumerate(run_jobs(look, jobs, pool), start=1):
        key = keys[new[index]]
        if isinstance(result, Failure):
            found[key] = unusable("media_time_limit" if result.timed_out else "media_crash", result.reason)
        else:
            found[key] = result
            fresh[key] = result.as_dict()
        if len(fresh) >= KEPT_AT_ONCE:
            memory.keep("media", fresh)
            fresh = {}
        progress("media", done, len(new))
    memory.keep("media", fresh)
    named = {path: found[key] for path, key in keys.items()}
    facts = {path: replace(one, fault=f"{path}: {one.fault}") if one.fault else one for path, one in named.items()}
    return facts, Counts(len(new), len(there) - len(new))
