"""The step as it is without sharing: every row carries the prompt, in the rollout and in training.

The rollout is the library's own `generate` over G rows; training is the plain forward over rows, in micro-batches, with
the LM head at completion positions only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from o3v.measure.case import StepCase
from o3v.measure.clock import Meter
from o3v.measure.update import draw_advantages, frozen_copy, make_optimizer, policy_loss, step_optimizer
from o3v.measure.ways import score
from o3v.types import Prompt

if TYPE_CHECKING:
    from o3v.models.policy import Encoded, Policy

NOTES = ("the rollout is transformers' generate over G rows that each carry the prompt",)


def run(case: StepCase, policy: Policy, prompt: Prompt, meters: Sequence[Meter]) -> None:
    """One training step a meter; see `o3v.measure.trl.run`."""
    optimizer = make_optimizer(case, policy)
    reference = frozen_copy(policy) if case.objective.kl_coef else None
    torch.manual_seed(case.seed)
    for meter in meters:
        with meter.step():
            _step(case, policy, reference, prompt, optimizer, meter)


def _step(
    case: StepCase,
    policy: Policy,
    reference: Policy | None,
    prompt: Prompt,
    optimizer: torch.optim.Optimizer,
    meter: Meter,
) -> None:
    encoded = policy.encode([prompt])
    with meter.phase("rollout"):
        ids = _generate(case, policy, encoded)
    advantages = draw_advantages(case)
    for rows in torch.arange(case.group_size).split(case.micro_batch):
        part, mask = ids[rows], torch.ones_like(ids[rows], dtype=torch.bool)
        ref = None
        if reference is not None:
            with meter.phase("ref"), torch.no_grad():
                ref = score("dense", reference, encoded, part, mask).logprobs
        with meter.phase("forward"):
            logprobs = score("dense", policy, encoded, part, mask).logprobs
            loss = policy_loss(case, logprobs, logprobs.detach(), ref, advantages[rows], mask)
        with meter.phase("backward"):
            (loss * len(rows) / case.group_size).backward()
    with meter.phase("optimizer"):
        step_optimizer(policy, optimizer)


def _generate(case: StepCase, policy: Policy, encoded: Encoded) -> Tensor:
    """G completions of exactly L tokens, [G, L]."""
    rows = encoded.repeat(case.group_size)
    policy.model.eval()
    with torch.no_grad():
        whole = policy.model.generate(
            input_ids=rows.input_ids,
            attention_mask=rows.attention_mask,
            mm_token_type_ids=rows.mm_token_type_ids,
            pixel_values=rows.pixel_values,
            image_grid_thw=rows.image_grid_thw,
            do_sample=True,
            top_k=0,
            min_new_tokens=case.completion,
            max_new_tokens=case.completion,
            suppress_tokens=list(policy.banned_ids),
        )
    policy.model.train()
    return whole[:, rows.input_ids.shape[1] :]
