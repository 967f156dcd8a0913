"""How often the samples of a data set are seen, and in which order.

The order is a function of (mix, seed, position) alone: it depends neither on the number of loader workers or ranks nor
on the order of the rows in their file (members of a group are put in the order of their ids first). How the order is
cut into batches is said in `o3v.data.order`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from o3v.data.difficulty import Difficulty
from o3v.errors import ConfigError
from o3v.types import Sample

AXES = ("source", "task", "difficulty", "modality")
"""What weights and amounts may refer to."""


class GroupName(NamedTuple):
    """What the samples of a group have in common: one name on each of `AXES`."""

    source: str
    task: str
    difficulty: str
    modality: str


def modality(sample: Sample) -> str:
    """What the model looks at: `video`, `image` or `text`."""
    if sample.video_path is not None:
        return "video"
    return "text" if sample.image_path is None else "image"


@dataclass(frozen=True)
class DataMix:
    """Weights and amounts by source, task, difficulty and modality.

    A sample's weight is the product of the weights of its names, 1 where none is given. Weight 2 shows a group of
    samples twice an epoch, 0.5 half of it (the other half next), 0 never. An amount says instead how many draws an
    epoch makes from all groups of a name together; the weights then divide it among them. A group may stand under one
    amount only.

    Attributes:
        weights: axis -> name -> weight.
        amounts: axis -> name -> draws an epoch.
        difficulty: puts samples into bands, the names of that axis.
    """

    weights: Mapping[str, Mapping[str, float]]
    amounts: Mapping[str, Mapping[str, int]]
    difficulty: Difficulty

    def __post_init__(self) -> None:
        """Reject unknown axes, weights that are no shares, amounts that are no counts."""
        for key, table in (("weights", self.weights), ("amounts", self.amounts)):
            for axis, by_name in table.items():
                if axis not in AXES:
                    raise ConfigError(f"mix.{key}.{axis}: unknown, allowed are {', '.join(AXES)}")
                for name, value in by_name.items():
                    _check_number(f"mix.{key}.{axis}.{name}", value, whole=key == "amounts")

    def order(self, samples: Sequence[Sample], seed: int) -> MixOrder:
        """The endless order in which `samples` are seen under a seed.

        Raises:
            ConfigError: a weight or an amount names what no sample has, two amounts claim a group, or nothing is left.
        """
        groups = self._group(samples)
        self._check_names(groups)
        sizes = self._sizes({name: len(members) for name, members in groups.items()})
        if not sum(sizes):
            raise ConfigError("mix.weights: no sample is left; at least one source and task needs a weight above 0")
        return MixOrder(tuple(groups), tuple(groups.values()), sizes, seed)

    def _group(self, samples: Sequence[Sample]) -> dict[GroupName, tuple[int, ...]]:
        """Numbers of the samples by group, groups in alphabetical order, members by id (row order where ids repeat)."""
        bands = self.difficulty.bands(samples)
        groups: dict[GroupName, list[int]] = {}
        for number in sorted(range(len(samples)), key=lambda n: samples[n].id):
            sample = samples[number]
            name = GroupName(sample.source, sample.task.value, bands[number], modality(sample))
            groups.setdefault(name, []).append(number)
        return {name: tuple(groups[name]) for name in sorted(groups)}

    def _sizes(self, counts: Mapping[GroupName, int]) -> tuple[int, ...]:
        """Draws an epoch from each group: n x weight, rounded (at least 1 above 0), or an amount's part."""
        exact = {name: count * self._weight(name) for name, count in counts.items()}
        sizes = {name: max(round(value), 1) if value > 0 else 0 for name, value in exact.items()}
        claimed: dict[GroupName, str] = {}
        for axis, by_name in self.amounts.items():
            for wanted, amount in by_name.items():
                key = f"mix.amounts.{axis}.{wanted}"
                members = [name for name in exact if getattr(name, axis) == wanted]
                _claim(claimed, members, key)
                sizes |= dict(zip(members, _divided(key, amount, [exact[name] for name in members]), strict=True))
        return tuple(sizes.values())

    def _weight(self, name: GroupName) -> float:
        return math.prod(self.weights.get(axis, {}).get(value, 1) for axis, value in name._asdict().items())

    def _check_names(self, groups: Mapping[GroupName, object]) -> None:
        for key, table in (("weights", self.weights), ("amounts", self.amounts)):
            for axis, by_name in table.items():
                present = {getattr(name, axis) for name in groups}
                allowed = present if axis != "difficulty" else present | set(self.difficulty.names)
                for name in by_name:
                    if name not in allowed:
                        raise ConfigError(
                            f"mix.{key}.{axis}.{name}: no sample has it; present are {', '.join(sorted(present))}"
                        )


@dataclass(frozen=True)
class MixOrder:
    """Position in the stream -> number of the sample. `order[i]` for any i >= 0; made by `DataMix.order`.

    An epoch draws `sizes[g]` times from each group g and shuffles the draws. The draws of a group run on from epoch to
    epoch through ever new permutations of it, so every member comes equally often (the counts differ by at most 1).

    Attributes:
        names: of the groups.
        groups: numbers of the samples of each.
        sizes: draws an epoch from each group.
        seed: any integer.
    """

    names: tuple[GroupName, ...]
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
        return int(self.epoch(epoch)[offset])

    def iterate(self, start: int) -> Iterator[int]:
        """Numbers of samples from position `start` on, without end."""
        position = start
        while True:
            yield self[position]
            position += 1

    def epoch(self, epoch: int) -> np.ndarray:
        """[epoch_length] numbers of the samples of an epoch in their order."""
        if epoch not in self._epochs:
            self._epochs.clear()  # one epoch is enough: positions come in order
            draws = [self._group_draws(g, epoch * size, size) for g, size in enumerate(self.sizes) if size]
            self._epochs[epoch] = self.generator(0, epoch, 0).permutation(np.concatenate(draws))
        return self._epochs[epoch]

    def generator(self, purpose: int, a: int, b: int) -> np.random.Generator:
        """Randomness that belongs to this order's seed and three numbers; 0 and 1 are this class' purposes."""
        return np.random.default_rng([self.seed % 2**63, purpose, a, b])

    def _group_draws(self, group: int, start: int, size: int) -> np.ndarray:
        """Draws start .. start + size - 1 of a group's own endless stream of permutations."""
        members = np.asarray(self.groups[group], dtype=np.int64)
        n = len(members)
        rounds = range(start // n, (start + size - 1) // n + 1)
        stream = np.concatenate([self.generator(1, group, r).permutation(members) for r in rounds])
        first = start - rounds[0] * n
        return stream[first : first + size]


def _check_number(key: str, value: object, whole: bool) -> None:
    good = not isinstance(value, bool) and isinstance(value, int if whole else int | float)
    if not good or not 0 <= value < math.inf:  # type: ignore[operator]
        raise ConfigError(f"{key}={value!r}: wanted a {'whole ' if whole else ''}number of 0 or more")


def _claim(claimed: dict[GroupName, str], members: Sequence[GroupName], key: str) -> None:
    """Note whose amount a group's draws belong to; refuse a second one."""
    for name in members:
        if name in claimed:
            raise ConfigError(f"{key}: {name.source}, {name.task} already stands under {claimed[name]}")
        claimed[name] = key


def _divided(key: str, amount: int, parts: Sequence[float]) -> list[int]:
    """A whole number divided in proportion to `parts` by largest remainders, the sum exact.

    >>> _divided("mix.amounts.source.gqa", 10, [1.0, 1.0, 1.0])
    [4, 3, 3]
    """
    total = sum(parts)
    if total <= 0:
        if amount:
            raise ConfigError(f"{key}={amount}: weights leave no sample of it to draw")
        return [0] * len(parts)
    exact = [amount * part / total for part in parts]
    whole = [math.floor(value) for value in exact]
    by_remainder = sorted(range(len(parts)), key=lambda k: (whole[k] - exact[k], k))
    for k in by_remainder[: amount - sum(whole)]:
        whole[k] += 1
    return whole
