"""One token a row from logits, by inversion of the cumulative distribution."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from o3v.errors import ConfigError


@dataclass(frozen=True)
class Sampling:
    """How completions are drawn (conf/rollout).

    Attributes:
        group_size: G, completions a prompt.
        temperature: 0 takes the most likely token always.
        top_p: smallest set of tokens that holds this probability; 1 keeps all.
        top_k: most likely tokens that are kept; 0 keeps all.
        max_new_tokens: longest completion; one that reaches it has no EOS.
    """

    group_size: int
    temperature: float
    top_p: float
    top_k: int
    max_new_tokens: int

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
    """[len(seeds), count] numbers in [0, 1), row i from seed i alone."""
    rows = [torch.rand(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) for seed in seeds]
    return torch.stack(rows)


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
