"""What an engine outside of training is asked and answers: token ids in, token ids and log-probabilities out.

An engine draws completions somewhere else (vLLM in a server of its own or in this process) and so has weights of its
own. They have a version, a name that training gives them; it travels with every question and every answer, so that
completions of old weights are never learned from. Nothing here needs torch: the server's environment need not have the
libraries of training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from o3v.errors import ServiceError

if TYPE_CHECKING:
    import numpy as np


class EngineAway(ServiceError):
    """The engine does not answer; it may come back."""


class StaleWeights(ServiceError):
    """The engine has other weights than those that learn."""


class EngineFault(ServiceError):
    """The engine's answer cannot be used, or it refuses the question."""


@dataclass(frozen=True)
class Ask:
    """One prompt.

    Attributes:
        ids: token ids with one placeholder a picture; the engine writes out as many as the picture has tokens.
        frames: the pictures in order, each [H, W, 3] uint8 RGB, of the size in which the model sees them.
        seeds: one integer for each completion, consecutive ones.
    """

    ids: tuple[int, ...]
    frames: tuple[np.ndarray, ...]
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Rules:
    """How completions are drawn.

    Attributes:
        temperature: 0 takes the most likely token always.
        top_p: smallest set of tokens that holds this probability; 1 keeps all.
        top_k: most likely tokens that are kept; 0 keeps all.
        max_new_tokens: longest completion.
        eos_id: token that ends a completion; it is part of it.
        banned_ids: tokens of probability 0 (vision and turn tokens).
    """

    temperature: float
    top_p: float
    top_k: int
    max_new_tokens: int
    eos_id: int
    banned_ids: tuple[int, ...]


@dataclass(frozen=True)
class Drawn:
    """One completion.

    Attributes:
        ids: its tokens, up to and including the end.
        logprobs: of each token, nats, of the distribution it was drawn from.
    """

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]


@dataclass(frozen=True)
class Reply:
    """What an engine answers to B asks.

    Attributes:
        version: of the weights that drew.
        prompt_ids: B prompts as the engine read them, every picture with all its tokens.
        completions: B groups.
    """

    version: str
    prompt_ids: tuple[tuple[int, ...], ...]
    completions: tuple[tuple[Drawn, ...], ...]


class Engine(Protocol):
    """Draws completions elsewhere."""

    @property
    def place(self) -> str:
        """Where it is, for messages."""
        ...

    def version(self) -> str | None:
        """Of its weights; None before the first. Raises EngineAway."""
        ...

    def load(self, folder: str, version: str) -> str:
        """Take the weights of a Hugging Face folder and forget everything computed with others; the version it has now.

        Raises:
            EngineAway: it does not answer.
            EngineFault: it cannot.
        """
        ...

    def draw(self, asks: Sequence[Ask], rules: Rules, version: str) -> Reply:
        """Completions of each ask.

        Raises:
            StaleWeights: its weights are of another version.
            EngineAway: it does not answer.
            EngineFault: it cannot.
        """
        ...
