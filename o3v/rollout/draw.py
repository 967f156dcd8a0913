"""One token a row from logits, by inversion of the cumulative distribution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from o3v.errors import ConfigError

DECODERS: Final = ("auto", "eager", "graph")


@dataclass(frozen=True)
class Sampling:
    """How completions are drawn (conf/rollout).

    Attributes:
        group_size: G, completions a prompt.
        temperature: 0 takes the most likely token always.
        top_p: smallest set of tokens that holds this probability; 1 keeps all.
        top_k: most likely tokens that are kept; 0 keeps all.
        max_new_tokens: longest completion; one that reaches it has no EOS.
        decoder: "eager" starts every kernel of a step by itself and lets completions that have ended go; "graph"
            replays a CUDA graph; "auto" is "graph" on a GPU and "eager" elsewhere.
    """

    group_size: int
    temperature: float
    top_p: float
    top_k: int
    max_new_tokens: int
    decoder: str

    def __post_init__(self) -> None:
        checks = {
            "group_size": self.group_size >= 1,
            "temperature": self.temperature >= 0,
            "top_p": 0 < self.top_p <= 1,
            "top_k": self.top_k >= 0,
            "max_new_tokens": self.max_new_tokens >= 1,
        }
        for name, is_valid in checks.items():
            if not is_valid:
                raise ConfigError(f"rollout.{name}={getattr(self, name)} is out of range")
        if self.decoder not in DECODERS:
            raise ConfigError(f"rollout.decoder={self.decoder!r} must be one of {list(DECODERS)}")

    def decoder_on(self, device: str) -> str:
        """What `decoder` stands for on this kind of device, "eager" or "graph".

        Raises:
            ConfigError: a graph is asked for where there is none.
        """
        if self.decoder == "auto":
            return "graph" if device == "cuda" else "eager"
        if self.decoder == "graph" and device != "cuda":
            raise ConfigError(f"rollout.decoder='graph' needs a GPU, not {device!r}; allowed there: ['auto', 'eager']")
        return self.decoder

    @property
    def scored_temperature(self) -> float:
        """Temperature of the log-probabilities: that of the draw, 1 for greedy ones."""
        return self.temperature or 1.0


def draw_tokens(logits: Tensor, uniform: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor]:
    """Draw one token a row.

    Args:
        logits: [N, V] float32, minus infinity for tokens without probability; overwritten.
        uniform: [N] float64 in [0, 1), the whole randomness of the draw.
        sampling: how.

    Returns:
        tokens [N] and their log-probabilities [N] in nats, of the whole distribution at `scored_temperature`: what the
        objectives differentiate. `top_p` and `top_k` narrow the draw without entering them.
    """
    shifted = logits.div_(sampling.scored_temperature).sub_(logits.amax(-1, keepdim=True))
    weights = shifted.exp()
    cumulative = weights.cumsum(-1, dtype=torch.float64)  # float32 would lose the tail of 152k tokens
    total = cumulative[:, -1]
    if sampling.temperature == 0:
        tokens = shifted.argmax(-1)
    else:
        if sampling.top_k or sampling.top_p < 1:
            cumulative = _truncate(weights.double() / total[:, None], sampling).cumsum(-1)
        tokens = _invert(cumulative, uniform)
    logprobs = shifted.gather(1, tokens[:, None]).squeeze(1).double() - total.log()
    return tokens, logprobs.to(logits.dtype)


def uniforms(seeds: list[int], count: int) -> Tensor:
    """[len(seeds), count] numbers in [0, 1), row i from seed i alone.

    Every bit of a seed counts (torch's generator on the CPU reads the lower 32 only).

    >>> len(set(uniforms([0, 1, 1 << 40, 1 << 60], 1).flatten().tolist()))
    4
    """
    rows = [np.random.Generator(np.random.Philox(key=seed)).random(count) for seed in seeds]
    return torch.from_numpy(np.stack(rows))


def _invert(cumulative: Tensor, uniform: Tensor) -> Tensor:
    """[N, V] ascending weights, [N] -> [N]; a token without weight is never met, whatever the rounding."""
    total = cumulative[:, -1]
    target = torch.minimum(uniform * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(cumulative, target[:, None], right=True).squeeze(1)


def _truncate(probabilities: Tensor, sampling: Sampling) -> Tensor:
    """Zero everything outside top-k and top-p; the rest keeps its unnormalised probability."""
    ordered, index = probabilities.sort(-1, descending=True)
    before = ordered.cumsum(-1) - ordered
    keep = before < sampling.top_p
    if sampling.top_k:
        keep &= torch.arange(keep.shape[1], device=keep.device) < sampling.top_k
    return torch.zeros_like(probabilities).scatter(1, index, ordered * keep)
