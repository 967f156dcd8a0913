"""G completions of each prompt, with the log-probabilities under which they were drawn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from o3v.errors import ConfigError
from o3v.models.logprobs import Prefix, read_prompts
from o3v.models.policy import Encoded, Policy
from o3v.types import Rollout


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


@torch.no_grad()
def sample_completions(policy: Policy, prompts: Encoded, sampling: Sampling, seeds: Sequence[int]) -> Rollout:
    """Draw G completions of each of B prompts, one prompt pass a prompt.

    Each completion has its own seed and consumes one uniform number a token, so it does not depend on which prompts
    share its batch. Vision and turn tokens have probability 0.

    Args:
        policy: the model.
        prompts: B encoded prompts.
        sampling: how to draw.
        seeds: B*G integers, G consecutive ones a prompt.

    Returns:
        The rollout; its log-probabilities are those of the whole distribution at the draw's temperature, which is what
        the objectives differentiate. `top_p` and `top_k` narrow the draw without entering them.
    """
    with _inference(policy):
        return _sample(policy, prompts, sampling, seeds)


@contextmanager
def _inference(policy: Policy) -> Iterator[None]:
    """Evaluation mode for the time of a rollout: in training mode gradient checkpointing would drop the cache."""
    was_training = policy.model.training
    policy.model.eval()
    try:
        yield
    finally:
        policy.model.train(was_training)


def _sample(policy: Policy, prompts: Encoded, sampling: Sampling, seeds: Sequence[int]) -> Rollout:
    prefix = read_prompts(policy, prompts).repeat(sampling.group_size)
    draws = _uniforms(seeds, sampling.max_new_tokens).to(policy.device)
    banned = torch.tensor(policy.banned_ids, device=policy.device)
    ids, logprobs, masks = [], [], []
    alive = torch.ones(len(seeds), dtype=torch.bool, device=policy.device)
    hidden = prefix.hidden
    for step in range(sampling.max_new_tokens):
        logits = policy.model.lm_head(hidden).float().index_fill(1, banned, float("-inf"))
        token = _draw(logits, draws[:, step], sampling)
        token = torch.where(alive, token, policy.pad_id)
        ids.append(token)
        masks.append(alive)
        logprobs.append(_chosen_logprob(logits / sampling.scored_temperature, token, alive))
        alive = alive & (token != policy.eos_id)
        if not alive.any() or step + 1 == sampling.max_new_tokens:
            break
        hidden = _advance(policy, prefix, token, torch.stack(masks, 1), step)
    all_ids = torch.stack(ids, 1)
    mask = torch.stack(masks, 1)
    texts = tuple(policy.decode(all_ids.masked_fill(~mask, policy.pad_id)))
    return Rollout(all_ids, mask, torch.stack(logprobs, 1), texts, sampling.group_size)


def _advance(policy: Policy, prefix: Prefix, token: Tensor, mask: Tensor, step: int) -> Tensor:
    """Feed one token a row; returns the hidden states [N, H] that predict the next."""
    output = policy.model.model(
        input_ids=token[:, None],
        attention_mask=torch.cat([prefix.attention_mask, mask.long()], 1),
        position_ids=(prefix.next_position + step)[None, :, None].expand(3, -1, -1),
        past_key_values=prefix.cache,
        use_cache=True,
    )
    return output.last_hidden_state[:, -1]


def _uniforms(seeds: Sequence[int], count: int) -> Tensor:
    """[len(seeds), count] numbers in [0, 1), row i from seed i alone."""
    rows = [torch.rand(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) for seed in seeds]
    return torch.stack(rows)


def _draw(logits: Tensor, uniform: Tensor, sampling: Sampling) -> Tensor:
    """One token a row by inversion of the cumulative distribution; [N, V], [N] -> [N]."""
    if sampling.temperature == 0:
        return logits.argmax(-1)
    probabilities = torch.softmax(logits.double() / sampling.temperature, -1)
    if sampling.top_k or sampling.top_p < 1:
        probabilities = _truncate(probabilities, sampling)
    cumulative = probabilities.cumsum(-1)
    target = uniform[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, target, right=True).squeeze(1).clamp(max=logits.shape[1] - 1)


def _truncate(probabilities: Tensor, sampling: Sampling) -> Tensor:
    """Zero everything outside top-k and top-p; the rest keeps its unnormalised probability."""
    ordered, index = probabilities.sort(-1, descending=True)
    before = ordered.cumsum(-1) - ordered
    keep = before < sampling.top_p
    if sampling.top_k:
        keep &= torch.arange(keep.shape[1], device=keep.device) < sampling.top_k
    return torch.zeros_like(probabilities).scatter(1, index, ordered * keep)


def _chosen_logprob(logits: Tensor, token: Tensor, alive: Tensor) -> Tensor:
    chosen = logits.gather(1, token[:, None]).squeeze(1) - logits.logsumexp(-1)
    return torch.where(alive, chosen, 0.0)
