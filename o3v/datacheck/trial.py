"""The check tried on damaged rows and files: is each of them accounted for, and what does it count as."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from o3v.datacheck.damage import damage_file, damage_row
from o3v.datacheck.facts import MediaFacts, RowFacts
from o3v.datacheck.looking import Place, look_at_media, read_rows
from o3v.datacheck.memory import Memory
from o3v.datacheck.pool import PoolSettings
from o3v.datacheck.row_reading import RowSettings
from o3v.datacheck.row_text import read_row_texts


@dataclass(frozen=True)
class Trial:
    """What became of damaged things.

    Attributes:
        damaged: how many there were.
        accounted: how many of them the check has an entry of.
        damages: mishap -> how many.
        counted_as: kind of finding -> how many; `fine` for those that are still valid.
        lost: good rows or files beside them that were lost or reported.
    """

    damaged: int
    accounted: int
    damages: dict[str, int]
    counted_as: dict[str, int]
    lost: int


def try_rows(
    rows: Sequence[dict[str, Any]], count: int, settings: RowSettings, pool: PoolSettings, file: Path
) -> Trial:
    """Damaged rows, a good one behind each, read from a file as the check reads it.

    Args:
        rows: good ones.
        count: damaged ones.
        settings: how rows are read.
        pool: workers and limits.
        file: where the rows are written.
    """
    rng = np.random.default_rng([count, 1])
    damages: Counter[str] = Counter()
    parts = []
    for number in range(count):
        row = rows[number % len(rows)]
        name, data = damage_row(row, rng)
        damages[name] += 1
        parts += [data, json.dumps({**row, "id": f"good-{number}"}).encode()]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"[" + b",\n".join(parts) + b"]\n")
    found, _ = read_rows(read_row_texts(file), settings, pool, Memory(None), "trial", lambda *_: None)
    good = {row.id for row in found if row.id.startswith("good-") and not row.facts}
    damaged = [row for row in found if row.id not in good]
    return Trial(count, len(damaged), dict(damages), _row_kinds(damaged), count - len(good))


def try_files(files: Sequence[Path], count: int, pool: PoolSettings, folder: Path) -> Trial:
    """Damaged media files, looked at by the check's workers.

    Args:
        files: good ones; .jpg and .png are images, others videos.
        count: damaged ones.
        pool: workers and limits.
        folder: where the damaged ones are written.
    """
    rng = np.random.default_rng([count, 2])
    folder.mkdir(parents=True, exist_ok=True)
    damages: Counter[str] = Counter()
    places: dict[str, Place] = {}
    for number in range(count):
        source = files[number % len(files)]
        name, data = damage_file(source.read_bytes(), rng)
        damages[name] += 1
        path = folder / f"{number:05d}{source.suffix}"
        path.write_bytes(data)
        is_image = path.suffix in (".jpg", ".png")
        places[str(path)] = Place(path, is_image, None, len(data), path.stat().st_mtime_ns)
    places |= {str(path): Place(path, path.suffix in (".jpg", ".png"), None, 0, 0) for path in files}
    found, _ = look_at_media(places, "ends", None, pool, Memory(None), "trial", lambda *_: None)
    good = {str(path) for path in files}
    damaged = {path: facts for path, facts in found.items() if path not in good}
    lost = sum(found[path].fault is not None for path in good)
    return Trial(count, len(damaged), dict(damages), _file_kinds(list(damaged.values())), lost)


def _row_kinds(rows: Sequence[RowFacts]) -> dict[str, int]:
    """A row counts once, by its first fault."""
    return dict(Counter(row.facts[0].kind if row.facts else "fine" for row in rows).most_common())


def _file_kinds(files: Sequence[MediaFacts]) -> dict[str, int]:
    return dict(Counter(facts.kind or "fine" for facts in files).most_common())
