"""What the project's own arms share around their passes: advantages, loss and optimizer, as TRL has them."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from o3v.measure.case import StepCase

if TYPE_CHECKING:
    from o3v.models.policy import Policy

_MAX_GRAD_NORM = 1.0


def draw_advantages(case: StepCase) -> Tensor:
    """[G] standardised random rewards; what they are changes no work."""
    rewards = torch.rand(case.group_size, generator=torch.Generator().manual_seed(case.seed))
    return (rewards - rewards.mean()) / rewards.std()


def policy_loss(
    case: StepCase,
    logprobs: Tensor,
    old_logprobs: Tensor,
    ref_logprobs: Tensor | None,
    advantages: Tensor,
    mask: Tensor,
) -> Tensor:
    """The objective on some of a group's completions, each with its share of the mean."""
    return case.objective.loss(logprobs, old_logprobs, ref_logprobs, advantages, mask).loss


def make_optimizer(case: StepCase, policy: Policy) -> torch.optim.Optimizer:
    """AdamW without weight decay over everything that learns."""
    learned = [p for p in policy.model.parameters() if p.requires_grad]
    return torch.optim.AdamW(learned, lr=case.lr, weight_decay=0.0)


def step_optimizer(policy: Policy, optimizer: torch.optim.Optimizer) -> None:
    """Clip, step, and free the gradients."""
    torch.nn.utils.clip_grad_norm_(policy.model.parameters(), _MAX_GRAD_NORM)
    optimizer.step()
    optimizer.zero_grad()


def frozen_copy(policy: Policy) -> Policy:
    """The reference of a KL term."""
    return replace(policy, model=copy.deepcopy(policy.model).requires_grad_(False).eval())
