"""What a mix draws: a table before the run, counts by source and task while it runs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from o3v.data.mix import MixOrder
from o3v.data.stream import BatchLoader, SampleStream
from o3v.types import Sample

COLUMNS = ("source", "task", "difficulty", "modality", "rows", "drawn", "share", "epochs")


def mix_rows(order: MixOrder) -> list[dict[str, Any]]:
    """One row a group, the sums in the last: samples, draws an epoch, their share, and how often each sample comes."""
    groups = [(*name, len(members), size) for name, members, size in _groups(order)]
    total = ("total", "", "", "", sum(g[4] for g in groups), order.epoch_length)
    return [
        dict(zip(COLUMNS, (*group, group[5] / order.epoch_length, group[5] / group[4]), strict=True))
        for group in [*groups, total]
    ]


def mix_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as aligned text for a log.

    >>> row = dict(zip(COLUMNS, ("gqa", "visual QA", "hard", "image", 2, 4, 1.0, 2.0)))
    >>> print(mix_text([row]))
    source  task       difficulty  modality  rows  drawn   share  epochs
    gqa     visual QA  hard        image        2      4  100.0%    2.00
    """
    shown = [[*(str(row[name]) for name in COLUMNS[:6]), f"{row['share']:.1%}", f"{row['epochs']:.2f}"] for row in rows]
    widths = [max(len(line[k]) for line in [list(COLUMNS), *shown]) for k in range(len(COLUMNS))]
    lines = []
    for line in [list(COLUMNS), *shown]:
        cells = [
            cell.ljust(w) if k < 4 else cell.rjust(w) for k, (cell, w) in enumerate(zip(line, widths, strict=True))
        ]
        lines.append("  ".join(cells))
    return "\n".join(lines)


def metric_name(source: str) -> str:
    """A source as part of a metric's name: what trackers do not take becomes an underscore.

    >>> metric_name("videor1 (mcq)")
    'videor1 _mcq_'
    """
    return re.sub(r"[^\w\-. ]", "_", source, flags=re.ASCII)


class MixCount:
    """Counts what all processes have been given, up to a batch; a run that goes on counts from its beginning.

    Nothing is exchanged or saved for it: which samples earlier batches held is known from their numbers.

    Args:
        loader: of the run; its stream is looked at when the first batch is counted.
    """

    def __init__(self, loader: BatchLoader) -> None:
        self._loader = loader
        self._next = 0
        self._sources: Counter[str] = Counter()
        self._tasks: Counter[str] = Counter()

    def metrics(self, index: int) -> dict[str, float]:
        """Samples given out up to and including a batch, those that could not be read among them.

        Returns:
            `data/SOURCE` and `data/task/TASK` counts, `data_share/SOURCE` shares, and `data_off`, the largest
            difference between a source's share and that of the mix. Empty for batches that come from no data set.
        """
        stream = self._loader.stream
        if not isinstance(stream, SampleStream):
            return {}
        for batch in range(self._next, index + 1):
            self._add([stream.samples[number] for number in stream.batches.batch(batch)])
        self._next = max(self._next, index + 1)
        total = self._sources.total()
        shares = {source: count / total for source, count in sorted(self._sources.items())}
        wanted = _wanted(stream.batches.order)
        counts = {f"data/{name}": float(n) for name, n in sorted(self._sources.items())}
        counts |= {f"data/task/{name}": float(n) for name, n in sorted(self._tasks.items())}
        off = max(abs(shares.get(source, 0.0) - share) for source, share in wanted.items())
        return counts | {f"data_share/{source}": share for source, share in shares.items()} | {"data_off": off}

    def _add(self, samples: Sequence[Sample]) -> None:
        self._sources.update(metric_name(sample.source) for sample in samples)
        self._tasks.update(sample.task.name.lower() for sample in samples)


def _wanted(order: MixOrder) -> dict[str, float]:
    """Share of each source in the mix."""
    sizes: Counter[str] = Counter()
    for name, _, size in _groups(order):
        sizes[metric_name(name.source)] += size
    return {source: size / order.epoch_length for source, size in sizes.items()}


def _groups(order: MixOrder) -> list[tuple[Any, tuple[int, ...], int]]:
    return list(zip(order.names, order.groups, order.sizes, strict=True))
