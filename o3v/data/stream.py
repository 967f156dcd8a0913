"""Batches by number: batch i of a run is a function of (configuration, seed, i) and of nothing else.

Resuming in the middle of an epoch is therefore starting at another i, whatever the number of loader workers. Where a
run goes on with another number of processes, batch i holds the same samples as long as the batch over all processes
is as large as before; else the run goes on at the same sample in batches of the new size (`o3v.data.schedule`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from o3v.data.captions import Captions
from o3v.data.order import BatchOrder
from o3v.data.schedule import Schedule
from o3v.errors import MediaError
from o3v.models.family import Family
from o3v.models.policy import Encoded, Policy
from o3v.sections import Recorder, Span, recording, section
from o3v.types import Prompt, Sample

log = logging.getLogger(__name__)

Prepare = Callable[[Sample], Prompt]


@dataclass(frozen=True)
class Example:
    """A prompt and the row it came from (None for pretraining captions)."""

    sample: Sample | None
    prompt: Prompt


@dataclass(frozen=True)
class Batch:
    """One step's input.

    Attributes:
        index: number of the batch in its run.
        number: the same over the batches of all processes, so that no two batches share it.
        examples: prompts in order.
        encoded: the same, tokenized; None when every sample of the batch failed.
        target_ids, target_mask: assistant turns [B, L] where every prompt has one, else None.
        faults: (sample, error) of samples that could not be decoded; they are not among the examples.
        positions: number of each example among all samples of the run, whatever the number of processes.
        places: number of each example among the batch's samples over all processes; empty: they are all here.
        spans: what a loader worker did for a batch that is watched.
    """

    index: int
    number: int
    examples: tuple[Example, ...]
    encoded: Encoded | None
    target_ids: Tensor | None
    target_mask: Tensor | None
    faults: tuple[tuple[Sample, MediaError], ...]
    positions: tuple[int, ...] = ()
    places: tuple[int, ...] = ()
    spans: tuple[Span, ...] = ()


@dataclass(frozen=True)
class Read:
    """What a process has read of a batch: examples with their positions in the run, and faults."""

    examples: tuple[Example, ...]
    positions: tuple[int, ...]
    faults: tuple[tuple[Sample, MediaError], ...]


class Watch(Protocol):
    """Somebody who wants to know when batches are asked for, and what they cost."""

    @property
    def batches(self) -> Collection[int]:
        """Numbers of the batches whose reading is recorded."""

    def asked(self, index: int) -> None:
        """The training process asks for a batch."""


class Stream(Protocol):
    """A numbered sequence of batches."""

    @property
    def schedule(self) -> Schedule:
        """Sizes of the batches, and how many there are."""

    def number(self, index: int) -> int:
        """Number of this process' batch `index` among the batches of all processes."""

    def read(self, index: int) -> Read:
        """What this process has of batch `index`."""

    def state(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""

    def continued(self, state: Mapping[str, Any], batch: int) -> Self:
        """The stream of a run that wrote `state` and goes on at `batch` with this stream's processes."""


@dataclass(frozen=True)
class SampleStream:
    """Batches of data set rows in the order of a mix.

    Attributes:
        samples: all rows.
        batches: which of them each batch holds, over all processes.
        prepare: Sample -> Prompt.
        rank, world_size: this process among all; each takes an equal, consecutive part of a batch.
    """

    samples: Sequence[Sample]
    batches: BatchOrder
    prepare: Prepare
    rank: int
    world_size: int

    @property
    def schedule(self) -> Schedule:
        """See `Stream`."""
        return self.batches.schedule

    def number(self, index: int) -> int:
        """See `Stream`."""
        return index * self.world_size + self.rank

    def read(self, index: int) -> Read:
        """See `Stream`. A sample that cannot be decoded leaves a gap in the positions and moves no other."""
        drawn = self.batches.batch(index)
        part = len(drawn) // self.world_size
        first = self.schedule.samples_before(index)
        examples: list[tuple[int, Example]] = []
        faults: list[tuple[Sample, MediaError]] = []
        for place in range(self.rank * part, (self.rank + 1) * part):
            sample = self.samples[drawn[place]]
            try:
                with section("decode"):
                    examples.append((first + place, Example(sample, self.prepare(sample))))
            except MediaError as error:
                faults.append((sample, error))
        return Read(tuple(e for _, e in examples), tuple(p for p, _ in examples), tuple(faults))

    def state(self) -> dict[str, Any]:
        """See `Stream`."""
        return self.schedule.state() | {"data": self.batches.fingerprint(self.samples)}

    def continued(self, state: Mapping[str, Any], batch: int) -> SampleStream:
        """See `Stream`. Another batch size or other data is told in the log; states without either are taken as is."""
        if "segments" not in state:
            return self
        if state["data"] != self.batches.fingerprint(self.samples):
            log.warning("the data or its mix is not what it was when the state was saved: other samples follow")
        before = Schedule.from_state(state)
        schedule = before.continued(batch, self.schedule.batch_size)
        if schedule != before:
            log.warning(
                "a batch now has %d samples instead of %d: going on at sample %d of %d, %d batches in all",
                *(schedule.batch_size, before.batch_size, schedule.samples_before(batch)),
                *(schedule.total_samples, schedule.batches),
            )
        return replace(self, batches=self.batches.following(schedule))


@dataclass(frozen=True)
class CaptionStream:
    """Batches of pretraining captions."""

    captions: Captions
    seed: int
    family: Family
    steps: int

    @property
    def schedule(self) -> Schedule:
        """See `Stream`; counts batches."""
        return Schedule.even(1, self.steps)

    def number(self, index: int) -> int:
        """See `Stream`; pretraining is one process."""
        return index

    def read(self, index: int) -> Read:
        """See `Stream`."""
        with section("decode"):
            prompts = self.captions.prompts(self.seed, index, self.family)
        return Read(tuple(Example(None, prompt) for prompt in prompts), (index,) * len(prompts), ())

    def state(self) -> dict[str, Any]:
        """See `Stream`."""
        return self.schedule.state()

    def continued(self, state: Mapping[str, Any], batch: int) -> CaptionStream:
        """See `Stream`; there is nothing to go on from but the number of the batch."""
        return self


class _Batches(Dataset[Batch]):
    """Map-style view of a stream that tokenizes; runs in loader workers."""

    def __init__(self, stream: Stream, policy: Policy, watched: frozenset[int]) -> None:
        self._stream = stream
        self._watched = watched
        self._text = Policy(None, policy.processor, policy.family)  # workers need no weights

    def __len__(self) -> int:
        return self._stream.schedule.batches

    def __getitem__(self, index: int) -> Batch:
        if index not in self._watched or get_worker_info() is None:
            return self._batch(index)
        with recording(Recorder()) as recorder:
            batch = self._batch(index)
        return replace(batch, spans=tuple(recorder.spans))

    def _batch(self, index: int) -> Batch:
        read = self._stream.read(index)
        with section("tokenize"):
            return self._tokenized(index, read)

    def _tokenized(self, index: int, read: Read) -> Batch:
        prompts = [example.prompt for example in read.examples]
        targets = [p.target for p in prompts]
        ids, mask = None, None
        if targets and all(t is not None for t in targets):
            ids, mask = self._text.encode_targets([t for t in targets if t is not None])
        encoded = self._text.encode(prompts) if prompts else None
        number, first = self._stream.number(index), self._stream.schedule.samples_before(index)
        places = tuple(position - first for position in read.positions)
        return Batch(index, number, read.examples, encoded, ids, mask, read.faults, read.positions, places)


class BatchLoader:
    """Iterates the batches from `start` on, while its length stays that of the whole run.

    Attributes:
        stream: the batches.
        start: first batch; moved by `go_on`.
    """

    def __init__(self, stream: Stream, policy: Policy, num_workers: int, watch: Watch | None = None) -> None:
        self.stream = stream
        self.start = 0
        self._policy = policy
        self._num_workers = num_workers
        self._watch = watch

    def go_on(self, state: Mapping[str, Any], batch: int) -> None:
        """Begin at `batch` of the run that wrote `state`, before it is iterated."""
        self.stream = self.stream.continued(state, batch)
        self.start = batch

    def __len__(self) -> int:
        return self.stream.schedule.batches

    def __iter__(self) -> Iterator[Batch]:
        options: dict[str, Any] = {"persistent_workers": False, "prefetch_factor": 4} if self._num_workers else {}
        loader = DataLoader(
            _Batches(self.stream, self._policy, frozenset(() if self._watch is None else self._watch.batches)),
            batch_size=None,
            sampler=range(self.start, len(self)),
            num_workers=self._num_workers,
            **options,
        )
        return iter(loader) if self._watch is None else self._watched(iter(loader), self._watch)

    def _watched(self, batches: Iterator[Batch], watch: Watch) -> Iterator[Batch]:
        for index in range(self.start, len(self)):
            watch.asked(index)
            with section("batch"):
                batch = next(batches)
            yield batch
