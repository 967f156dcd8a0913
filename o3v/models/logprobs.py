"""Scores of completions given their prompts, by four ways with the same numbers.

- `dense_scores`: every completion carries its prompt through the library's plain forward. What everybody does.
- `mask_scores`: prompts and completions in one row, each prompt once; the library's plain forward with a 4-D mask. The
  oracle of the next two: nothing in it but public interfaces.
- `packed_scores`: the same row by a kernel that leaves out what no token sees (`o3v.models.kernels`).
- `kept_scores`: completions only, continuing from a prompt whose graph was kept from the rollout.

A test holds them together within 1e-5 in fp32, values and gradients, for both families.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from o3v.models.head import TokenScores, score_tokens
from o3v.models.kernels import KERNELS
from o3v.models.packing import (
    PackedCompletions,
    PackedPrompts,
    pack_completions,
    pack_prompts,
    prompt_positions,
)
from o3v.models.passes import Pass
from o3v.models.policy import Encoded, Policy
from o3v.models.prefix import Prefix, run_row


def kept_scores(
    policy: Policy, prefix: Prefix, ids: Tensor, mask: Tensor, temperature: float = 1.0, kernel: str = "split"
) -> TokenScores:
    """Scores of G completions a prompt, only the completions going through the model.

    Args:
        policy: the model, with the weights under which `prefix` was read.
        prefix: B prompts; gradients flow into it.
        ids: [B*G, L] completion tokens, right-padded, G consecutive rows a prompt.
        mask: [B*G, L] bool, True on completion tokens up to and including EOS.
        temperature: of the distribution, that of the draw: the policy which sampled is the one that learns.
        kernel: of the attention, a key of `o3v.models.kernels.KERNELS`.

    Returns:
        [B*G, L] log-probabilities and entropies.
    """
    packed = pack_completions(ids, mask, prefix.next_position)
    states = prefix.hidden
    if len(packed.input_ids):
        shared = KERNELS[kernel].later(prefix.keys, prefix.values, packed.lengths)
        states = torch.cat([states, run_row(policy, packed.input_ids, packed.positions, shared)])
    return score_tokens(policy, states[packed.sources], ids, mask, temperature)


def packed_scores(
    policy: Policy, prompts: Encoded, ids: Tensor, mask: Tensor, temperature: float = 1.0, kernel: str = "split"
) -> TokenScores:
    """Scores of G completions a prompt with one pass over prompts and completions; arguments as in `kept_scores`."""
    row = _Row.of(policy, prompts, ids, mask)
    shared = KERNELS[kernel].packed(row.prompt.lengths, row.packed.lengths, row.ends)
    return _row_scores(policy, replace(row, shared=shared), ids, mask, temperature)


def mask_scores(policy: Policy, prompts: Encoded, ids: Tensor, mask: Tensor, temperature: float = 1.0) -> TokenScores:
    """As `packed_scores`, by the library's own attention under a mask of N x N: for checking, and for small N."""
    row = _Row.of(policy, prompts, ids, mask)
    return _row_scores(policy, replace(row, mask=row.group_mask()), ids, mask, temperature)


def dense_scores(policy: Policy, prompts: Encoded, ids: Tensor, mask: Tensor, temperature: float = 1.0) -> TokenScores:
    """As `packed_scores` with every completion carrying its prompt, padded rows, the library's plain forward."""
    hidden = _dense_hidden(policy, prompts, ids, mask)[:, -ids.shape[1] - 1 : -1]
    return score_tokens(policy, hidden[mask], ids, mask, temperature)


def dense_scores_with_prompt(
    policy: Policy, prompts: Encoded, ids: Tensor, mask: Tensor, prompt_mask: Tensor
) -> TokenScores:
    """Scores of prompt and completion tokens, for the reference's SFT loss.

    Args:
        policy: the model.
        prompts: B prompts.
        ids: [B, L] target tokens, right-padded.
        mask: [B, L] bool.
        prompt_mask: [B, P] bool, prompt tokens that are trained on.

    Returns:
        Scores [B, P+L-1] of the tokens after the first.
    """
    hidden = _dense_hidden(policy, prompts, ids, mask)
    row = torch.cat([prompts.input_ids, ids], 1)[:, 1:]
    scored = torch.cat([prompt_mask, mask], 1)[:, 1:]
    return score_tokens(policy, hidden[:, :-1][scored], row, scored, banned_ids=())


@dataclass(frozen=True)
class _Row:
    """Prompts and their completions in one row, ready for the model."""

    prompts: Encoded
    prompt: PackedPrompts
    packed: PackedCompletions
    shared: Pass | None = None
    mask: Tensor | None = None

    @classmethod
    def of(cls, policy: Policy, prompts: Encoded, ids: Tensor, mask: Tensor) -> _Row:
        prompt = pack_prompts(policy, prompts)
        return cls(prompts, prompt, pack_completions(ids, mask, prompt.next_position))

    @property
    def ends(self) -> Tensor:
        """Places in the row of the tokens that predict one: each prompt's last, and all of completions."""
        return self.prompt.ends(len(self.packed.input_ids))

    def group_mask(self) -> Tensor:
        """[1, 1, N, N] bool: a token sees its prompt, and its own completion up to itself."""
        group = [b for b, length in enumerate(self.prompt.lengths) for _ in range(length)]
        own = [-1] * len(group)  # -1: of a prompt
        numbered = [(b, length) for b, lengths in enumerate(self.packed.lengths) for length in lengths]
        for row, (b, length) in enumerate(numbered):
            group += [b] * length
            own += [row] * length
        groups, owns = torch.tensor(group), torch.tensor(own)
        same = (groups[:, None] == groups) & ((owns == -1) | (owns[:, None] == owns))
        return same.tril()[None, None].to(self.packed.input_ids.device)


def _row_scores(policy: Policy, row: _Row, ids: Tensor, mask: Tensor, temperature: float) -> TokenScores:
    tokens = torch.cat([row.prompt.input_ids, row.packed.input_ids])
    positions = torch.cat([row.prompt.positions, row.packed.positions], 1)
    hidden = run_row(policy, tokens, positions, row.shared, row.prompts, row.mask)
    states = hidden if row.mask is None else hidden[row.ends]
    return score_tokens(policy, states[row.packed.sources], ids, mask, temperature)


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
