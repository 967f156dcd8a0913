"""Several workers on one benchmark: who answers what, and one table out of their files.

    records-0-of-4.jsonl ... records-3-of-4.jsonl    one a worker, appended record by record
    records.jsonl                                    all of them by id, written when every question is answered

Each worker looks at all files first, so nothing is answered twice, also when the number of workers has changed since
a stop. An answer does not depend on who gives it, so neither does the table.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from o3v.benchmarks.question import Question
from o3v.benchmarks.records import Record, read_records, video_of, write_records
from o3v.errors import ConfigError

MERGED = "records.jsonl"

_SHARD = re.compile(r"(\d+)/(\d+)")


@dataclass(frozen=True)
class Shard:
    """One worker of several.

    Attributes:
        index: which, from 0.
        count: of how many.
    """

    index: int
    count: int

    def __post_init__(self) -> None:
        """Reject a worker that does not exist."""
        if not 0 <= self.index < self.count:
            raise ConfigError(f"shard={self.index}/{self.count}: wanted K/N with 0 <= K < N")

    @property
    def file_name(self) -> str:
        """Name of its file.

        >>> Shard(1, 4).file_name
        'records-1-of-4.jsonl'
        """
        return f"records-{self.index}-of-{self.count}.jsonl"

    def pick(self, questions: Iterable[Question]) -> list[Question]:
        """Its questions: whole videos, dealt out in turn; those of one video follow each other.

        The order is by video and part of it, then by id, so that a video is decoded once.
        """
        ordered = sorted(questions, key=lambda q: (video_of(q), q.span_s or (-1.0, -1.0), q.id))
        videos = sorted({video_of(question) for question in ordered})
        mine = set(videos[self.index :: self.count])
        return [question for question in ordered if video_of(question) in mine]


ALONE = Shard(0, 1)


def read_shard(text: str) -> Shard:
    """A shard as the command line gives it.

    >>> read_shard("1/4")
    Shard(index=1, count=4)

    Raises:
        ConfigError: anything but K/N with 0 <= K < N.
    """
    match = _SHARD.fullmatch(str(text))
    if match is None:
        raise ConfigError(f"shard={text}: wanted K/N, for example 0/4, with 0 <= K < N")
    return Shard(int(match[1]), int(match[2]))


def record_files(folder: Path) -> list[Path]:
    """Files of records in a folder: the merged one, then the workers' by name."""
    merged = [folder / MERGED] if (folder / MERGED).is_file() else []
    return [*merged, *sorted(folder.glob("records-*-of-*.jsonl"))]


def read_folder(folder: Path) -> dict[str, Record]:
    """Every record of a folder by question id, ids in order; of two with one id the first file's counts.

    Raises:
        DataError: a broken line; names file and line.
    """
    found: dict[str, Record] = {}
    for path in record_files(folder):
        for record in read_records(path):
            found.setdefault(record.sample_id, record)
    return dict(sorted(found.items()))


def merge(folder: Path, records: Sequence[Record]) -> None:
    """Writes the merged file and removes the workers'; stopped in between, doing it again gives the same.

    Raises:
        StorageError: the folder cannot be written.
    """
    write_records(folder / MERGED, records)
    for path in record_files(folder):
        if path.name != MERGED:
            path.unlink(missing_ok=True)
