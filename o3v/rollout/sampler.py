"""G completions of each prompt, with the log-probabilities under which they were drawn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from o3v.models.decoding import Decoder
from o3v.models.graph_decoding import GraphDecoder
from o3v.models.policy import Encoded, Policy
from o3v.models.prefix import Prefix, read_prompts
from o3v.rollout.draw import Sampling, draw_tokens, uniforms
from o3v.sections import in_section
from o3v.types import Rollout

_SHRINK = 0.75
"""Finished completions leave the batch when so large a share of it, or less, is still going on."""


@torch.no_grad()
def sample_completions(
    policy: Policy, prompts: Encoded, sampling: Sampling, seeds: Sequence[int], eos_id: int | None = None
) -> Rollout:
    """Draw G completions of each of B prompts, one prompt pass a prompt.

    Each completion has its own seed and consumes one uniform number a token, so it does not depend on which prompts
    share its batch. Vision and turn tokens have probability 0.

    Args:
        policy: the model.
        prompts: B encoded prompts.
        sampling: how to draw.
        seeds: B*G integers, G consecutive ones a prompt.
        eos_id: token that ends a completion; None is the policy's own, -1 lets every completion reach its full length.

    Returns:
        The rollout; see `draw_tokens` for its log-probabilities.
    """
    with _inference(policy):
        return sample_from(policy, read_prompts(policy, prompts), sampling, seeds, eos_id)


@torch.no_grad()
def sample_from(
    policy: Policy, prefix: Prefix, sampling: Sampling, seeds: Sequence[int], eos_id: int | None = None
) -> Rollout:
    """As `sample_completions`, from prompts that have been read; their graph stays as it is."""
    with _inference(policy):
        ids, logprobs, mask = _sample(policy, prefix.detach(), sampling, list(seeds), eos_id)
    texts = tuple(policy.decode(ids.masked_fill(~mask, policy.pad_id)))
    return Rollout(ids, mask, logprobs, texts, sampling.group_size)


@contextmanager
def _inference(policy: Policy) -> Iterator[None]:
    """Evaluation mode for the time of a rollout: nothing is checkpointed for a backward pass that never comes."""
    was_training = policy.model.training
    policy.model.eval()
    try:
        yield
    finally:
        policy.model.train(was_training)


@in_section("decode tokens")
def _sample(
    policy: Policy, prefix: Prefix, sampling: Sampling, seeds: list[int], eos_id: int | None
) -> tuple[Tensor, Tensor, Tensor]:
    """ids, logprobs and mask [B*G, L], L the longest completion."""
    end = policy.eos_id if eos_id is None else eos_id
    shape = (len(seeds), sampling.max_new_tokens)
    draws = uniforms(seeds, shape[1]).to(policy.device)
    banned = torch.tensor(policy.banned_ids, device=policy.device)
    ids = torch.full(shape, policy.pad_id, device=policy.device)
    logprobs, mask = torch.zeros(shape, device=policy.device), torch.zeros_like(ids, dtype=torch.bool)
    rows = torch.arange(shape[0], device=policy.device)  # completions that are going on
    hidden = prefix.hidden.repeat_interleave(sampling.group_size, 0)
    decoder = _decoder(policy, prefix, sampling)
    going = torch.ones_like(rows, dtype=torch.bool)
    for step in range(shape[1]):
        logits = policy.model.lm_head(hidden).float().index_fill_(1, banned, float("-inf"))
        tokens, chosen = draw_tokens(logits, draws[rows, step], sampling)
        ids[rows, step] = torch.where(going, tokens, policy.pad_id)
        logprobs[rows, step] = torch.where(going, chosen, 0.0)
        mask[rows, step] = going
        going = going & (tokens != end)
        is_last, looks = step + 1 == shape[1], (step + 1) % decoder.check_every == 0
        left = int(going.sum()) if looks and not is_last else len(rows)  # reading it waits for the device
        if is_last or not left:
            break
        if isinstance(decoder, Decoder) and left <= _SHRINK * len(rows):
            kept = going.nonzero().squeeze(1)
            decoder.keep(kept)
            rows, tokens, going = rows[kept], tokens[kept], going[kept]
        hidden = decoder.advance(tokens)
    width = int(mask.any(0).sum())
    return ids[:, :width], logprobs[:, :width], mask[:, :width]


def _decoder(policy: Policy, prefix: Prefix, sampling: Sampling) -> Decoder | GraphDecoder:
    length = sampling.max_new_tokens - 1  # the last token is never fed
    if sampling.decoder_on(policy.device.type) == "graph":
        return GraphDecoder(policy, prefix, sampling.group_size, length, is_captured=True)
    return Decoder(policy, prefix, sampling.group_size, length)


__all__ = ["Sampling", "sample_completions", "sample_from"]
