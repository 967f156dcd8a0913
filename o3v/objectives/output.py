"""What every objective shares: its result and its small surface."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True)
class LossOutput:
    """A loss and what to log about it.

    Attributes:
        loss: scalar with gradient.
        metrics: name -> detached scalar.
        counted: how many ratios (policy) or tokens (SFT) the averages among the metrics stand for, detached scalar.
    """

    loss: Tensor
    metrics: Mapping[str, Tensor]
    counted: Tensor


class Objective(Protocol):
    """What training asks any objective before it starts."""

    @property
    def needs_rollout(self) -> bool:
        """Does a step begin with drawing completions."""
        ...

    @property
    def needs_reference(self) -> bool:
        """Are log-probabilities of a frozen reference model needed."""
        ...

    def warnings(self, prompts: int | None = None, group_size: int | None = None) -> tuple[str, ...]:
        """Sentences about a configuration that is allowed and yet cannot do what it says.

        Args:
            prompts: prompts of one process' batch, where known.
            group_size: completions a prompt, where known.
        """
        ...
