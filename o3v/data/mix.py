"""In which order, and how often, the samples of a data set are seen.

The order is a function of (seed, position) alone. Resuming at any position costs at most two permutations, and the
number of workers and ranks cannot change it: rank r of R takes positions r, r + R, r + 2R, ...
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from o3v.errors import ConfigError
from o3v.types import Sample

AXES = ("source", "task")
"""What weights may refer to."""


@dataclass(frozen=True)
class DataMix:
    """Weights by source and task; a sample's weight is the product of both, 1 where none is given.

    Weight 2 shows a group of samples twice an epoch, 0.5 half of it (the other half next), 0 never.

    Attributes:
        weights: {"source": {name: weight}, "task": {name: weight}}; both may be empty.
    """

    weights: Mapping[str, Mapping[str, float]]

    def __post_init__(self) -> None:
        """Reject unknown axes and weights that are no shares."""
        for axis, by_name in self.weights.items():
            if axis not in AXES:
                raise ConfigError(f"mix.weights.{axis}: unknown, allowed are {', '.join(AXES)}")
            for name, weight in by_name.items():
                if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < math.inf:
                    raise ConfigError(f"mix.weights.{axis}.{name}={weight!r}: wanted a number of 0 or more")

    def order(self, samples: Sequence[Sample], seed: int) -> MixOrder:
        """The endless order in which `samples` are seen under a seed.

        Raises:
            ConfigError: a weight names a source or task that the samples do not have, or nothing is left.
        """
        groups = _group(samples)
        self._check_names(samples)
        sizes = tuple(self._share(source, task, len(members)) for (source, task), members in groups.items())
        if not sum(sizes):
            raise ConfigError("mix.weights: no sample is left; at least one source and task needs a weight above 0")
        return MixOrder(tuple(groups.values()), sizes, seed)

    def _share(self, source: str, task: str, n_samples: int) -> int:
        """Draws an epoch from a group: n times weight, rounded, at least one unless the weight is 0."""
        weight = self.weights.get("source", {}).get(source, 1) * self.weights.get("task", {}).get(task, 1)
        return max(round(n_samples * weight), 1) if weight > 0 else 0

    def _check_names(self, samples: Sequence[Sample]) -> None:
        for axis, present in (("source", {s.source for s in samples}), ("task", {s.task.value for s in samples})):
            for name in self.weights.get(axis, {}):
                if name not in present:
                    allowed = ", ".join(sorted(present))
                    raise ConfigError(f"mix.weights.{axis}.{name}: no sample has it; present are {allowed}")


@dataclass(frozen=True)
class MixOrder:
    """Position in the stream -> number of the sample. `order[i]` for any i >= 0; made by `DataMix.order`.

    An epoch draws `sizes[g]` times from each group g and shuffles the draws. The draws of a group run on from epoch to
    epoch through ever new permutations of it, so every member comes equally often (the counts differ by at most 1).

    Attributes:
        groups: numbers of the samples of each (source, task).
        sizes: draws an epoch from each group.
        seed: any integer.
    """

    groups: tuple[tuple[int, ...], ...]
    sizes: tuple[int, ...]
    seed: int
    _epochs: dict[int, np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    @property
    def epoch_length(self) -> int:
        """Positions in one epoch, the same in all."""
        return sum(self.sizes)

    def __getitem__(self, position: int) -> int:
        """Number of the sample at a position."""
        if position < 0:
            raise IndexError(f"position {position} of an endless order")
        epoch, offset = divmod(position, self.epoch_length)
        if epoch not in self._epochs:
            self._epochs.clear()  # one epoch is enough: positions come in order
            self._epochs[epoch] = self._draw(epoch)
        return int(self._epochs[epoch][offset])

    def iterate(self, start: int) -> Iterator[int]:
        """Numbers of samples from position `start` on, without end."""
        position = start
        while True:
            yield self[position]
            position += 1

    def _draw(self, epoch: int) -> np.ndarray:
        draws = [self._group_draws(g, epoch * size, size) for g, size in enumerate(self.sizes) if size]
        return self._generator(0, epoch, 0).permutation(np.concatenate(draws))

    def _group_draws(self, group: int, start: int, size: int) -> np.ndarray:
        """Draws start .. start + size - 1 of a group's own endless stream of permutations."""
        members = np.asarray(self.groups[group], dtype=np.int64)
        n = len(members)
        rounds = range(start // n, (start + size - 1) // n + 1)
        stream = np.concatenate([self._generator(1, group, r).permutation(members) for r in rounds])
        first = start - rounds[0] * n
        return stream[first : first + size]

    def _generator(self, purpose: int, a: int, b: int) -> np.random.Generator:
        return np.random.default_rng([self.seed % 2**63, purpose, a, b])


def _group(samples: Sequence[Sample]) -> dict[tuple[str, str], tuple[int, ...]]:
    """Numbers of the samples by (source, task), groups in alphabetical order."""
    groups: dict[tuple[str, str], list[int]] = {}
    for number, sample in enumerate(samples):
        groups.setdefault((sample.source, sample.task.value), []).append(number)
    return {name: tuple(groups[name]) for name in sorted(groups)}
