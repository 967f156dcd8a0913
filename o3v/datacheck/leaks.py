"""Does a benchmark ask about a video that is trained on? By content, by file name, and by the video's id."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from o3v.datacheck.findings import Fact

SHORTEST_NAME: Final = 5
"""Characters of a file name below which it tells nothing (`1.mp4`). Names of Charades have five."""

SHORTEST_ID: Final = 8
"""Characters of an id below which it tells nothing."""

BLOCK: Final = 2**18
"""Bytes at the start, in the middle and at the end that stand for the content."""

_PART = re.compile(
    r"[_-](?:\d+(?:\.\d+)?[_-]\d+(?:\.\d+)?|\d{1,2}:\d{2}:\d{2}[:.]\d{1,3}[_-]\d{1,2}:\d{2}:\d{2}[:.]\d{1,3})$"
)


def video_id(name: str) -> str:
    """The id of the video that a file is cut from: its name without ending, ActivityNet's `v_` and the part's times.

    >>> video_id("v_JOBSEatasv4.mp4"), video_id("NUsG9BgSes0_210.0_360.0.mp4")
    ('JOBSEatasv4', 'NUsG9BgSes0')
    >>> video_id("4jujhM5qhEc_00:00:39:000_00:01:24:700.mp4")
    '4jujhM5qhEc'
    """
    stem = Path(name).stem.removeprefix("v_")
    return _PART.sub("", stem)


def content_digest(path: Path) -> str | None:
    """Of the length and of three blocks of a file, which tells videos apart unread; None if unreadable."""
    try:
        size = path.stat().st_size
        found = hashlib.sha1(str(size).encode(), usedforsecurity=False)
        with path.open("rb") as handle:
            for place in (0, max(size // 2 - BLOCK // 2, 0), max(size - BLOCK, 0)):
                handle.seek(place)
                found.update(handle.read(BLOCK))
    except (OSError, ValueError):
        return None
    return found.hexdigest()


@dataclass(frozen=True)
class AskedVideos:
    """The media that benchmarks ask about.

    Attributes:
        names: file name -> benchmarks.
        ids: video id -> benchmarks.
        sizes: length in bytes -> [(file, benchmark)] of those that are on disk.
    """

    names: Mapping[str, frozenset[str]]
    ids: Mapping[str, frozenset[str]]
    sizes: Mapping[int, tuple[tuple[Path, str], ...]]
    _digests: dict[Path, str | None] = field(default_factory=dict, repr=False, compare=False)

    def fact(self, path: Path, size: int | None) -> Fact | None:
        """The strongest sign that a file is asked about.

        Args:
            path: of a train row.
            size: its length in bytes; None where it does not exist.
        """
        same = self._same_content(path, size)
        if same is not None:
            return Fact("leak_content", f"{path} has the content of {same[0]}, about which {same[1]} asks")
        if len(path.stem) >= SHORTEST_NAME and path.name in self.names:
            return Fact("leak_name", f"{path.name}: {_listed(self.names[path.name])} asks about a file of this name")
        key = video_id(path.name)
        if len(key) >= SHORTEST_ID and key in self.ids:
            return Fact("leak_id", f"{path.name}: {_listed(self.ids[key])} asks about a video with the id {key}")
        return None

    def _same_content(self, path: Path, size: int | None) -> tuple[Path, str] | None:
        """Only files of one length are read."""
        candidates = self.sizes.get(size, ()) if size else ()
        mine = self._digest(path) if candidates else None
        return next((one for one in candidates if mine is not None and self._digest(one[0]) == mine), None)

    def _digest(self, path: Path) -> str | None:
        if path not in self._digests:
            self._digests[path] = content_digest(path)
        return self._digests[path]


def asked_videos(by_benchmark: Mapping[str, list[Path]]) -> AskedVideos:
    """The media of some benchmarks.

    Args:
        by_benchmark: name -> files, whether they are on disk or not.
    """
    names: dict[str, set[str]] = defaultdict(set)
    ids: dict[str, set[str]] = defaultdict(set)
    sizes: dict[int, list[tuple[Path, str]]] = defaultdict(list)
    for benchmark, paths in by_benchmark.items():
        for path in sorted(set(paths)):
            names[path.name].add(benchmark)
            ids[video_id(path.name)].add(benchmark)
            if path.is_file():
                sizes[path.stat().st_size].append((path, benchmark))
    return AskedVideos(
        {name: frozenset(found) for name, found in names.items()},
        {name: frozenset(found) for name, found in ids.items()},
        {size: tuple(found) for size, found in sizes.items()},
    )


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names))
