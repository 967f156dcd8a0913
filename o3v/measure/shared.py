"""The project's own step: the prompt passes the model once for its G completions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from o3v.measure.case import StepCase
from o3v.measure.clock import Meter
from o3v.measure.update import draw_advantages, frozen_copy, make_optimizer, policy_loss, step_optimizer
from o3v.measure.ways import score
from o3v.models.prefix import Prefix, read_prompts
from o3v.rollout.sampler import sample_completions, sample_from
from o3v.types import Prompt, Rollout

if TYPE_CHECKING:
    from o3v.models.policy import Encoded, Policy

NOTES: tuple[str, ...] = ()
_NEVER = -1
"""No token ends a completion: each reaches its full length."""


def run(case: StepCase, policy: Policy, prompt: Prompt, meters: Sequence[Meter]) -> None:
    """One training step a meter.

    Args:
        case: sizes, objective and training pass.
        policy: the model; it is trained.
        prompt: the prompt of every step.
        meters: one a step.
    """
    optimizer = make_optimizer(case, policy)
    reference = frozen_copy(policy) if case.objective.kl_coef else None
    policy.model.train()
    for number, meter in enumerate(meters):
        with meter.step():
            _step(case, policy, reference, prompt, meter, number)
            with meter.phase("optimizer"):
                step_optimizer(policy, optimizer)


def _step(case: StepCase, policy: Policy, reference: Policy | None, prompt: Prompt, meter: Meter, number: int) -> None:
    """Everything up to the gradients."""
    encoded = policy.encode([prompt])
    seeds = [case.seed + number * case.group_size + row for row in range(case.group_size)]
    with meter.phase("rollout"):
        prefix, rollout = _roll(case, policy, encoded, seeds)
    ids, mask = rollout.ids, rollout.completion_mask
    ref = None
    if reference is not None:
        with meter.phase("ref"), torch.no_grad():
            ref = score("split", reference, encoded, ids, mask).logprobs
    with meter.phase("forward"):
        logprobs = score(case.prompt_pass, policy, encoded, ids, mask, prefix).logprobs
        loss = policy_loss(case, logprobs, rollout.logprobs, ref, draw_advantages(case), mask)
    with meter.phase("backward"):
        loss.backward()


def _roll(case: StepCase, policy: Policy, encoded: Encoded, seeds: list[int]) -> tuple[Prefix | None, Rollout]:
    """The rollout, and the prompt with its graph where the training pass goes on from it."""
    if case.prompt_pass != "kept":
        return None, sample_completions(policy, encoded, case.sampling, seeds, _NEVER)
    prefix = read_prompts(policy, encoded)
    return prefix, sample_from(policy, prefix, case.sampling, seeds, _NEVER)
