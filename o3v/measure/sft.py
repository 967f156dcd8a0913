"""One SFT step by the project's dense pass: the arm by which a plan's memory is checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from o3v.measure.case import StepCase
from o3v.measure.clock import Meter
from o3v.measure.update import make_optimizer, step_optimizer
from o3v.models.logprobs import dense_scores
from o3v.types import Prompt

if TYPE_CHECKING:
    from o3v.models.policy import Policy

NOTES: tuple[str, ...] = ()
_FIRST_ID = 300
"""Targets are drawn above the bytes and special tokens of the measured tokenizer."""


def run(case: StepCase, policy: Policy, prompt: Prompt, meters: Sequence[Meter]) -> None:
    """One training step a meter, over `micro_batch` rows of the prompt and a target of L random tokens."""
    optimizer = make_optimizer(case, policy)
    policy.model.train()
    encoded = policy.encode([prompt] * case.micro_batch)
    generator = torch.Generator().manual_seed(case.seed)
    ids = torch.randint(_FIRST_ID, case.vocab_size // 2, (case.micro_batch, case.completion), generator=generator)
    mask = torch.ones_like(ids, dtype=torch.bool)
    for meter in meters:
        with meter.step():
            with meter.phase("forward"):
                loss = -dense_scores(policy, encoded, ids, mask).logprobs.mean()
            with meter.phase("backward"):
                loss.backward()
            with meter.phase("optimizer"):
                step_optimizer(policy, optimizer)
