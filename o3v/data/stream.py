"""Batches by number: batch i of a run is a function of (configuration, seed, i) and of nothing else.

Resuming in the middle of an epoch is therefore starting at another i, whatever the number of loader workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from o3v.data.captions import Captions
from o3v.data.mix import MixOrder
from o3v.errors import MediaError
from o3v.models.family import Family
from o3v.models.policy import Encoded, Policy
from o3v.types import Prompt, Sample

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
    """

    index: int
    number: int
    examples: tuple[Example, ...]
    encoded: Encoded | None
    target_ids: Tensor | None
    target_mask: Tensor | None
    faults: tuple[tuple[Sample, MediaError], ...]


class Stream(Protocol):
    """A numbered sequence of batches."""

    @property
    def steps(self) -> int:
        """Number of batches."""

    def number(self, index: int) -> int:
        """Number of this process' batch `index` among the batches of all processes."""

    def read(self, index: int) -> tuple[list[Example], list[tuple[Sample, MediaError]]]:
        """Examples and faults of batch `index` of this process."""


@dataclass(frozen=True)
class SampleStream:
    """Batches of data set rows in the order of a mix.

    Attributes:
        samples: all rows.
        order: position in the run -> number of the sample.
        prepare: Sample -> Prompt.
        batch_size: prompts of this process a batch.
        steps: number of batches.
        rank, world_size: this process among all.
    """

    samples: Sequence[Sample]
    order: MixOrder
    prepare: Prepare
    batch_size: int
    steps: int
    rank: int
    world_size: int

    def number(self, index: int) -> int:
        """See `Stream`."""
        return index * self.world_size + self.rank

    def read(self, index: int) -> tuple[list[Example], list[tuple[Sample, MediaError]]]:
        """See `Stream`."""
        start = self.number(index) * self.batch_size
        examples: list[Example] = []
        faults: list[tuple[Sample, MediaError]] = []
        for position in range(start, start + self.batch_size):
            sample = self.samples[self.order[position]]
            try:
                examples.append(Example(sample, self.prepare(sample)))
            except MediaError as error:
                faults.append((sample, error))
        return examples, faults


@dataclass(frozen=True)
class CaptionStream:
    """Batches of pretraining captions."""

    captions: Captions
    seed: int
    family: Family
    steps: int

    def number(self, index: int) -> int:
        """See `Stream`; pretraining is one process."""
        return index

    def read(self, index: int) -> tuple[list[Example], list[tuple[Sample, MediaError]]]:
        """See `Stream`."""
        prompts = self.captions.prompts(self.seed, index, self.family)
        return [Example(None, prompt) for prompt in prompts], []


class _Batches(Dataset[Batch]):
    """Map-style view of a stream that tokenizes; runs in loader workers."""

    def __init__(self, stream: Stream, policy: Policy) -> None:
        self._stream = stream
        self._text = Policy(None, policy.processor, policy.family)  # workers need no weights

    def __len__(self) -> int:
        return self._stream.steps

    def __getitem__(self, index: int) -> Batch:
        examples, faults = self._stream.read(index)
        prompts = [example.prompt for example in examples]
        targets = [p.target for p in prompts]
        ids, mask = None, None
        if targets and all(t is not None for t in targets):
            ids, mask = self._text.encode_targets([t for t in targets if t is not None])
        encoded = self._text.encode(prompts) if prompts else None
        return Batch(index, self._stream.number(index), tuple(examples), encoded, ids, mask, tuple(faults))


class BatchLoader:
    """Iterates the batches from `start` on, while its length stays that of the whole run.

    Attributes:
        start: first batch; set before fitting resumes.
    """

    def __init__(self, stream: Stream, policy: Policy, num_workers: int) -> None:
        self._dataset = _Batches(stream, policy)
        self._num_workers = num_workers
        self.start = 0

    def __len__(self) -> int:
        return len(self._dataset)

    def __iter__(self) -> Iterator[Batch]:
        options: dict[str, Any] = {"persistent_workers": False, "prefetch_factor": 4} if self._num_workers else {}
        loader = DataLoader(
            self._dataset,
            batch_size=None,
            sampler=range(self.start, len(self._dataset)),
            num_workers=self._num_workers,
            **options,
        )
        return iter(loader)
