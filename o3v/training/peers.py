"""What a step asks of the other processes of its run, so that all of them make the same calls.

Exchanging gradients and gathering weights are collectives: a process that makes one call less than the others leaves
them waiting for ever. Yet they differ in what they have to do: groups without a signal are skipped, samples cannot be
read, one prompt has pictures and another has none. So they agree on the most of each, and who has less makes blank
passes, whose gradient is zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    from lightning import LightningModule

    from o3v.training.layouts import Layout


class Peers(Protocol):
    """The processes of a run; every method must be called by all of them, equally often."""

    def most(self, counts: Sequence[int]) -> list[int]:
        """The highest of each count among the processes."""
        ...

    def mean(self, value: float) -> float:
        """Mean over the processes."""
        ...

    def gathered(self) -> AbstractContextManager[None]:
        """While it is open, every process has all weights, and running the model asks nothing of the others."""
        ...

    def state(self) -> Mapping[str, Tensor] | None:
        """Weights that no single process has, on the first one's host; None in the others, or where each has them."""
        ...


class Alone:
    """One process."""

    def most(self, counts: Sequence[int]) -> list[int]:
        """Its own."""
        return list(counts)

    def mean(self, value: float) -> float:
        """Its own."""
        return value

    def gathered(self) -> AbstractContextManager[None]:
        """It has them always."""
        return nullcontext()

    def state(self) -> None:
        """It has them."""


ALONE = Alone()


class TrainerPeers:
    """The processes that a trainer runs.

    Args:
        module: in the trainer.
        layout: of its weights.
    """

    def __init__(self, module: LightningModule, layout: Layout) -> None:
        self._module = module
        self._layout = layout

    def most(self, counts: Sequence[int]) -> list[int]:
        """See `Peers`."""
        told = torch.tensor(list(counts), device=self._module.device)
        found: Tensor = self._module.trainer.strategy.reduce(told, reduce_op="max")
        return [int(count) for count in found]

    def mean(self, value: float) -> float:
        """See `Peers`."""
        told = torch.tensor(value, device=self._module.device)
        return float(self._module.trainer.strategy.reduce(told, reduce_op="mean"))

    def gathered(self) -> AbstractContextManager[None]:
        """See `Peers`."""
        return self._layout.gathered(self._module)

    def state(self) -> Mapping[str, Tensor] | None:
        """See `Peers`."""
        return self._layout.state(self._module)


def mean_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    """Each metric's mean over the processes of the run that have it; all of them must ask."""
    if not torch.distributed.is_initialized() or torch.distributed.get_world_size() == 1:
        return dict(metrics)
    gathered: list[dict[str, float]] = [{} for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather_object(gathered, dict(metrics))
    names = dict.fromkeys(name for one in gathered for name in one)
    columns = {name: [one[name] for one in gathered if name in one] for name in names}
    return {name: sum(values) / len(values) for name, values in columns.items()}
