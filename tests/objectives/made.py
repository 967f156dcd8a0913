"""Objectives and random completions for tests."""

import dataclasses

import torch

from o3v.objectives import advantages
from o3v.objectives.policy import PolicyObjective

LEVELS = {"gspo": "sequence", "gspo_token": "sequence_token", "grpo": "token"}

GSPO = PolicyObjective(
    ratio_level="sequence",
    surrogate="clip",
    clip_low=0.2,
    clip_high=0.2,
    kl_coef=0.04,
    kl_estimator="k3",
    kl_bias_correction=False,
    advantage="std",
    aggregation="sequence",
    max_length=8,
    overlong="keep",
    overlong_cache=0.0,
    resample_flat=0,
    updates_per_rollout=1,
    minibatches=4,
)


def objective(**changes) -> PolicyObjective:
    """`GSPO` with other values."""
    return dataclasses.replace(GSPO, **changes)


def random_case(seed, rows=4, length=5):
    """Log-probabilities of policy, sampler and reference, advantages and mask of one group."""
    generator = torch.Generator().manual_seed(seed)
    draw = [-torch.rand(rows, length, generator=generator) for _ in range(3)]
    ends = torch.randint(1, length + 1, (rows, 1), generator=generator)
    gains = advantages.group_advantages(torch.rand(1, rows, generator=generator), "std").flatten()
    return *draw, gains, torch.arange(length) < ends


def gradient(made, logprobs, *rest):
    """Gradient of an objective's loss with respect to the policy's log-probabilities."""
    leaf = logprobs.clone().requires_grad_()
    return torch.autograd.grad(made.loss(leaf, *rest).loss, leaf)[0]
