"""Log-probabilities of completions, and the hidden states behind them.

Two ways with the same numbers (a test holds them together within 1e-5 in fp32, for both families):

- `dense_logprobs`: each of the N = B*G rows is prompt + completion; the plain forward of the library. The oracle, and
  the way under gradient checkpointing.
- `prefix_logprobs`: each prompt goes through vision tower and language model once, its keys and values serve its G
  completions. Gradients flow through them.

The head sees completion positions only, in chunks that are recomputed in the backward pass, with a float32
log-softmax (the reference materialises logits of every prompt token in bf16, defect T6).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from o3v.models.policy import Encoded, Policy

_CHUNK = 1024


@dataclass(frozen=True)
class Prefix:
    """B prompts after one pass: what completions continue from.

    Attributes:
        cache: keys and values of every layer, a transformers cache of B rows.
        hidden: [B, H] last hidden state of each prompt, which predicts the first completion token.
        attention_mask: [B, P].
        next_position: [B] M-RoPE position of the first completion token.
    """

    cache: Any
    hidden: Tensor
    attention_mask: Tensor
    next_position: Tensor

    def repeat(self, times: int) -> Prefix:
        """The same for `times` completions a prompt; gradients of the copies add up."""
        if times > 1:
            self.cache.batch_repeat_interleave(times)
        return Prefix(
            self.cache,
            self.hidden.repeat_interleave(times, 0),
            self.attention_mask.repeat_interleave(times, 0),
            self.next_position.repeat_interleave(times, 0),
        )


def prompt_positions(policy: Policy, prompts: Encoded) -> tuple[Tensor, Tensor]:
    """M-RoPE positions of prompts, [3, B, P], and the position after each, [B].

    The one place where positions come from: they are passed explicitly to every forward, so state that the library
    keeps from an earlier call (`rope_deltas`) can never enter. Computed on the host: the library's loop over rows and
    images would stall an accelerator at every number it reads.
    """
    no_pixels, no_frames = prompts.pixel_values[:0], prompts.pixel_values_videos[:0]
    host = replace(prompts, pixel_values=no_pixels, pixel_values_videos=no_frames).to("cpu")
    positions, _ = policy.model.model.get_rope_index(
        host.input_ids,
        mm_token_type_ids=host.mm_token_type_ids,
        image_grid_thw=host.image_grid_thw if len(host.image_grid_thw) else None,
        video_grid_thw=host.video_grid_thw if len(host.video_grid_thw) else None,
        second_per_grid_ts=host.second_per_grid_ts if len(host.video_grid_thw) else None,
        attention_mask=host.attention_mask,
    )
    next_position = positions.masked_fill(host.attention_mask[None] == 0, -1).amax((0, 2)) + 1
    return positions.to(policy.device), next_position.to(policy.device)


def read_prompts(policy: Policy, prompts: Encoded) -> Prefix:
    """One pass over prompts: vision tower and language model once a prompt."""
    positions, next_position = prompt_positions(policy, prompts)
    output = policy.model.model(
        input_ids=prompts.input_ids,
        attention_mask=prompts.attention_mask,
        position_ids=positions,
        **prompts.media(),
        mm_token_type_ids=prompts.mm_token_type_ids,
        use_cache=True,
    )
    return Prefix(output.past_key_values, output.last_hidden_state[:, -1], prompts.attention_mask, next_position)


def prefix_logprobs(policy: Policy, prompts: Encoded, ids: Tensor, mask: Tensor, temperature: float = 1.0) -> Tensor:
    """Log-probabilities of G completions a prompt with one pass over each prompt.

    Args:
        policy: the model.
        prompts: B prompts.
        ids: [B*G, L] completion tokens, right-padded, G consecutive rows a prompt.
        mask: [B*G, L] bool, True on completion tokens up to and including EOS.
        temperature: of the distribution, that of the draw: the policy which sampled is the one that learns.

    Returns:
        [B*G, L] nats, 0 where masked.
    """
    prefix = read_prompts(policy, prompts).repeat(len(ids) // len(prompts.input_ids))
    hidden = prefix.hidden[:, None]
    if ids.shape[1] > 1:
        steps = torch.arange(ids.shape[1] - 1, device=ids.device)
        positions = (prefix.next_position[:, None] + steps)[None].expand(3, -1, -1)
        output = policy.model.model(
            input_ids=ids[:, :-1],
            attention_mask=torch.cat([prefix.attention_mask, mask[:, :-1].long()], 1),
            position_ids=positions,
            past_key_values=prefix.cache,
            use_cache=True,
        )
        hidden = torch.cat([hidden, output.last_hidden_state], 1)
    return token_logprobs(policy, hidden, ids, mask, temperature)


def dense_logprobs(policy: Policy, prompts: Encoded, ids: Tensor, mask: Tensor, temperature: float = 1.0) -> Tensor:
    """The same as `prefix_logprobs` with every row carrying its prompt; see there for shapes."""
    hidden = _dense_hidden(policy, prompts, ids, mask)
    return token_logprobs(policy, hidden[:, -ids.shape[1] - 1 : -1], ids, mask, temperature)


def dense_logprobs_with_prompt(
    policy: Policy, prompts: Encoded, ids: Tensor, mask: Tensor, prompt_mask: Tensor
) -> tuple[Tensor, Tensor]:
    """Log-probabilities of prompt and completion tokens, for the reference's SFT loss.

    Args:
        policy: the model.
        prompts: B prompts.
        ids: [B, L] target tokens, right-padded.
        mask: [B, L] bool.
        prompt_mask: [B, P] bool, prompt tokens that are trained on.

    Returns:
        logprobs [B, P+L-1] and mask of the tokens after the first.
    """
    hidden = _dense_hidden(policy, prompts, ids, mask)
    row = torch.cat([prompts.input_ids, ids], 1)[:, 1:]
    scored = torch.cat([prompt_mask, mask], 1)[:, 1:]
    return token_logprobs(policy, hidden[:, :-1], row, scored, banned_ids=()), scored


def _dense_hidden(policy: Policy, prompts: Encoded, ids: Tensor, mask: Tensor) -> Tensor:
    rows = prompts.repeat(len(ids) // len(prompts.input_ids))
    positions, next_position = prompt_positions(policy, rows)
    steps = torch.arange(ids.shape[1], device=ids.device)
    own = (next_position[:, None] + steps)[None].expand(3, -1, -1)
    return policy.model.model(
        input_ids=torch.cat([rows.input_ids, ids], 1),
        attention_mask=torch.cat([rows.attention_mask, mask.long()], 1),
        position_ids=torch.cat([positions, own], 2),
        **rows.media(),
        mm_token_type_ids=torch.cat([rows.mm_token_type_ids, torch.zeros_like(ids)], 1),
        use_cache=False,
    ).last_hidden_state


def token_logprobs(
    policy: Policy,
    hidden: Tensor,
    ids: Tensor,
    mask: Tensor,
    temperature: float = 1.0,
    banned_ids: Sequence[int] | None = None,
) -> Tensor:
    """Log-probabilities of given tokens under the head, 0 where masked; banned tokens have no probability.

    Args:
        policy: whose head.
        hidden: [N, L, H] states that predict `ids`.
        ids: [N, L].
        mask: [N, L] bool; only True positions are computed.
        temperature: of the distribution; logits are divided by it.
        banned_ids: tokens without probability; None stands for the policy's own.
    """
    head = policy.model.lm_head
    banned = torch.tensor(policy.banned_ids if banned_ids is None else banned_ids, device=ids.device).long()
    states, targets = hidden[mask] / temperature, ids[mask]
    parts = [
        checkpoint(
            _chunk_logprobs, head.weight, states[i : i + _CHUNK], targets[i : i + _CHUNK], banned, use_reentrant=False
        )
        for i in range(0, len(states), _CHUNK)
    ]
    result = torch.zeros(ids.shape, device=hidden.device, dtype=torch.float32)
    return result.masked_scatter(mask, torch.cat(parts)) if parts else result


def _chunk_logprobs(weight: Tensor, states: Tensor, targets: Tensor, banned: Tensor) -> Tensor:
    logits = (states @ weight.T).float().index_fill(1, banned, float("-inf"))
    return logits.gather(1, targets[:, None]).squeeze(1) - logits.logsumexp(-1)
