"""How many samples each batch of a run takes, also where the run went on with another number of processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple


class Segment(NamedTuple):
    """Batches of one size.

    Attributes:
        first_batch: number of the first.
        batch_size: samples of one batch over all processes.
    """

    first_batch: int
    batch_size: int


@dataclass(frozen=True)
class Schedule:
    """The sizes of a run's batches. A run's length is in samples; batches follow from it.

    Attributes:
        segments: from where on which size holds; the first begins at batch 0.
        total_samples: samples of the whole run.

    >>> schedule = Schedule.even(batch_size=4, batches=10).continued(batch=6, batch_size=8)
    >>> schedule.batches, schedule.samples_before(6), schedule.samples_before(7), schedule.progress(7)
    (8, 24, 32, 0.8)
    """

    segments: tuple[Segment, ...]
    total_samples: int

    @classmethod
    def even(cls, batch_size: int, batches: int) -> Schedule:
        """So many batches of one size."""
        return cls((Segment(0, batch_size),), batch_size * batches)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Schedule:
        """What `state` wrote."""
        return cls(tuple(Segment(*pair) for pair in state["segments"]), state["total_samples"])

    def state(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return {"segments": [list(segment) for segment in self.segments], "total_samples": self.total_samples}

    @property
    def batch_size(self) -> int:
        """Samples of a batch now, over all processes."""
        return self.segments[-1].batch_size

    @property
    def batches(self) -> int:
        """Batches of the whole run: the samples that are left, in batches of the present size, rounded."""
        first, size = self.segments[-1]
        return first + max(0, round((self.total_samples - self.samples_before(first)) / size))

    def samples_before(self, batch: int) -> int:
        """Samples that the batches before this one take."""
        ends = [segment.first_batch for segment in self.segments[1:]] + [batch]
        pairs = zip(self.segments, ends, strict=True)
        return sum(max(0, min(end, batch) - first) * size for (first, size), end in pairs)

    def progress(self, batch: int) -> float:
        """Share of the run's samples that come before this batch, at most 1."""
        return min(1.0, self.samples_before(batch) / self.total_samples)

    def continued(self, batch: int, batch_size: int) -> Schedule:
        """The same run, going on at `batch` with another batch size; unchanged where the size is that of before."""
        if batch_size == self.batch_size:
            return self
        kept = tuple(segment for segment in self.segments if segment.first_batch < batch)
        return replace(self, segments=(*kept, Segment(batch, batch_size)))
