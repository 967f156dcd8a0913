"""Which samples each batch of a run holds: the mix's order, cut into batches of one modality or of similar length.

Batch i is a function of (mix, seed, grouping, schedule, i) alone. Samples of one class (all of them, or those of one
modality) form an endless stream; it is cut at multiples of the batch size, and a batch comes in the epoch in which its
last sample is drawn. Grouping by length moves samples inside windows of a stream, never out of an epoch.

Where a run goes on with another batch size, each stream is cut anew from its first unseen sample on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from o3v.data.mix import MixOrder
from o3v.data.schedule import Schedule
from o3v.errors import ConfigError
from o3v.types import Sample

_LABELS, _WINDOW = 2, 3  # purposes of random numbers; 0 and 1 are the mix's


@dataclass(frozen=True)
class Grouping:
    """What the samples of a batch have in common.

    Attributes:
        same_modality: every batch is of videos, of images or of text alone, on all processes: under ZeRO-3 and FSDP
            processes wait for each other in the vision tower, which a batch without pixels never enters.
        length_window: batches inside which samples are sorted by their length; 0 sorts none. More saves more padding
            and makes the order less random.
    """

    same_modality: bool
    length_window: int

    def __post_init__(self) -> None:
        if isinstance(self.length_window, bool) or self.length_window < 0:
            raise ConfigError(f"data.grouping.length_window={self.length_window}: wanted a number of batches, 0 = off")

    @property
    def needs_lengths(self) -> bool:
        """Whether lengths take part."""
        return self.length_window > 0

    def batches(self, order: MixOrder, lengths: Sequence[int] | None, schedule: Schedule) -> BatchOrder:
        """The batches of a run.

        Args:
            order: of the mix.
            lengths: tokens of each sample by its number; None where none are needed.
            schedule: sizes of the batches.
        """
        if self.needs_lengths and lengths is None:
            raise ConfigError("data.grouping.length_window: needs the samples' lengths")
        return BatchOrder(order, self, tuple(lengths or ()) if self.needs_lengths else (), schedule)


@dataclass(frozen=True)
class _Cut:
    """Streams cut into batches of one size from a place on: one segment of a schedule.

    Attributes:
        starts: samples of each class before the place.
        lengths: samples an epoch of each class.
        size: samples of a batch.
    """

    starts: tuple[int, ...]
    lengths: tuple[int, ...]
    size: int

    def done(self, epoch: int) -> list[int]:
        """Batches of each class that are complete before an epoch begins."""
        pairs = zip(self.starts, self.lengths, strict=True)
        return [max(0, epoch * length - start) // self.size for start, length in pairs]

    def epoch_of(self, batch: int) -> int:
        """The epoch in which a batch, counted from this cut's first, is completed."""
        low, high = 0, 1
        while sum(self.done(high)) <= batch:
            high *= 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if sum(self.done(middle)) <= batch else (low, middle)
        return low


@dataclass(frozen=True)
class BatchOrder:
    """Batch number -> numbers of its samples over all processes; made by `Grouping.batches`.

    Attributes:
        order: of the mix.
        grouping: what a batch's samples have in common.
        lengths: tokens of each sample; empty where lengths take no part.
        schedule: sizes of the batches.
    """

    order: MixOrder
    grouping: Grouping
    lengths: tuple[int, ...]
    schedule: Schedule
    _cache: dict[object, np.ndarray] = field(default_factory=dict, repr=False, compare=False)
    _cuts: list[_Cut] = field(default_factory=list, repr=False, compare=False)

    def __post_init__(self) -> None:
        starts = (0,) * len(self._epoch_lengths)
        for number, (first, size) in enumerate(self.schedule.segments):
            if number:
                starts = self._taken(number - 1, first - self.schedule.segments[number - 1].first_batch)
            self._cuts.append(_Cut(starts, self._epoch_lengths, size))

    def batch(self, index: int) -> tuple[int, ...]:
        """Numbers of the samples of a batch, those of process 0 first."""
        segments = self.schedule.segments
        number = max(n for n, segment in enumerate(segments) if segment.first_batch <= index)
        cut, place = self._cuts[number], index - segments[number].first_batch
        stream, before = self._place(number, place)
        first = cut.starts[stream] + before[stream] * cut.size
        return tuple(int(n) for n in self._samples(stream, first, cut.size))

    def continued(self, batch: int, batch_size: int) -> BatchOrder:
        """The same samples from `batch` on in batches of another size."""
        schedule = self.schedule.continued(batch, batch_size)
        return self if schedule == self.schedule else self.following(schedule)

    def following(self, schedule: Schedule) -> BatchOrder:
        """The same order under another schedule."""
        return replace(self, schedule=schedule, _cache={}, _cuts=[])

    def fingerprint(self, samples: Sequence[Sample]) -> str:
        """Names what the order is made of, so that a run that goes on with other data is noticed.

        The same wherever and in whichever order of rows the data lies.
        """
        digest = hashlib.sha256(repr((self.order.names, self.order.sizes, self.order.seed, self.grouping)).encode())
        for group in self.order.groups:
            for number in group:
                length = self.lengths[number] if self.lengths else 0
                digest.update(f"\n{samples[number].id}\t{length}".encode())
        return digest.hexdigest()[:16]

    @property
    def _classes(self) -> tuple[str, ...]:
        """Class of each of the mix's groups that is drawn from; all the same without `same_modality`."""
        names = zip(self.order.names, self.order.sizes, strict=True)
        return tuple(name.modality if self.grouping.same_modality else "" for name, size in names if size)

    @property
    def _epoch_lengths(self) -> tuple[int, ...]:
        """Samples an epoch of each class, classes in alphabetical order."""
        sizes: dict[str, int] = {}
        for name, size in zip(self._classes, (size for size in self.order.sizes if size), strict=True):
            sizes[name] = sizes.get(name, 0) + size
        return tuple(sizes[name] for name in sorted(sizes))

    def _place(self, segment: int, batch: int) -> tuple[int, list[int]]:
        """Class of a batch of a segment, and the segment's batches of every class before it."""
        cut = self._cuts[segment]
        epoch = cut.epoch_of(batch)
        before = cut.done(epoch)
        labels = self._labels(segment, epoch)
        offset = batch - sum(before)
        since = np.bincount(labels[:offset], minlength=len(before))
        return int(labels[offset]), (np.asarray(before) + since).tolist()

    def _taken(self, segment: int, batches: int) -> tuple[int, ...]:
        """Samples of each class that are seen when a segment ends after so many batches."""
        cut = self._cuts[segment]
        _, before = self._place(segment, batches)
        return tuple(start + count * cut.size for start, count in zip(cut.starts, before, strict=True))

    def _labels(self, segment: int, epoch: int) -> np.ndarray:
        """Classes of the batches that an epoch completes, in a random order."""
        key = ("labels", segment, epoch)
        if key not in self._cache:
            cut = self._cuts[segment]
            counts = np.subtract(cut.done(epoch + 1), cut.done(epoch))
            labels = np.repeat(np.arange(len(counts)), counts)
            self._remember(key, self.order.generator(_LABELS, segment, epoch).permutation(labels))
        return self._cache[key]

    def _samples(self, stream: int, first: int, count: int) -> np.ndarray:
        """Samples first .. first + count - 1 of a class."""
        length = self._epoch_lengths[stream]
        epochs = range(first // length, (first + count - 1) // length + 1)
        drawn = np.concatenate([self._arranged(stream, epoch) for epoch in epochs])
        begin = first - epochs[0] * length
        return drawn[begin : begin + count]

    def _arranged(self, stream: int, epoch: int) -> np.ndarray:
        """An epoch's samples of a class, in the order in which batches take them."""
        key = (stream, epoch)
        if key not in self._cache:
            drawn = self._of_class(stream, epoch).copy()
            begin = epoch * len(drawn)
            for number, cut in enumerate(self._cuts if self.grouping.needs_lengths else ()):
                unseen = max(cut.starts[stream] - begin, 0)
                if unseen < len(drawn):
                    head = -(begin + unseen - cut.starts[stream]) % cut.size
                    generator = self.order.generator(_WINDOW, stream, epoch * 1000 + number)
                    drawn[unseen:] = self._sorted_in_windows(drawn[unseen:], head, cut.size, generator)
            self._remember(key, drawn)
        return self._cache[key]

    def _of_class(self, stream: int, epoch: int) -> np.ndarray:
        drawn = self.order.epoch(epoch)
        if not self.grouping.same_modality:
            return drawn
        return drawn[self._class_of_sample()[drawn] == stream]

    def _class_of_sample(self) -> np.ndarray:
        """Number of the class of each sample; -1 for samples that are not drawn."""
        if "classes" not in self._cache:
            table = np.full(sum(len(group) for group in self.order.groups), -1)
            groups = [group for group, size in zip(self.order.groups, self.order.sizes, strict=True) if size]
            for name, group in zip(self._classes, groups, strict=True):
                table[list(group)] = sorted(set(self._classes)).index(name)
            self._cache["classes"] = table
        return self._cache["classes"]

    def _sorted_in_windows(self, drawn: np.ndarray, head: int, size: int, generator: np.random.Generator) -> np.ndarray:
        """Samples sorted by length inside windows of batches, the batches of a window in a random order.

        Args:
            drawn: samples in the order of the mix.
            head: how many of them complete a batch that began in the epoch before.
            size: samples of a batch.
            generator: decides among equal lengths and about the order of batches.
        """
        lengths = np.asarray(self.lengths)
        edges = [0, *range(head or size, len(drawn), size), len(drawn)]
        found = []
        for w in range(0, len(edges) - 1, self.grouping.length_window):
            cuts = edges[w : w + self.grouping.length_window + 1]
            members = generator.permutation(drawn[cuts[0] : cuts[-1]])
            members = members[np.argsort(lengths[members], kind="stable")]
            found += _dealt(members, np.diff(cuts), generator)
        return np.concatenate(found)

    def _remember(self, key: object, value: np.ndarray) -> None:
        """Keep what the last few epochs were made of."""
        if len(self._cache) > 16:
            self._cache.clear()
        self._cache[key] = value


def _dealt(members: np.ndarray, sizes: np.ndarray, generator: np.random.Generator) -> list[np.ndarray]:
    """Sorted members cut into batches of `sizes`, which then stand in a random order (each keeps its own size)."""
    parts: list[np.ndarray] = [members[:0]] * len(sizes)
    begin = 0
    for place in generator.permutation(len(sizes)):
        parts[place] = members[begin : begin + sizes[place]]
        begin += sizes[place]
    return parts
