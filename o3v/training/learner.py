"""What a training step needs, in one frozen bundle, and how a loss becomes an update."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from o3v.models.logprobs import dense_logprobs, prefix_logprobs
from o3v.models.policy import Encoded, Policy
from o3v.rollout.sampler import Sampling

Update = Callable[[Tensor, bool], float]
"""(loss, is the last part of this update) -> gradient norm when the optimizer stepped, else nan."""

Plan = Callable[[int], object]
"""Told once a step, before the first update, how many updates follow. Processes of a run must make equally many, so one
that has fewer (groups without a signal, samples that cannot be read) joins the others' with a gradient of zero."""


@dataclass(frozen=True)
class Learner:
    """The parts of training that do not change during a run.

    Attributes:
        policy: the model that learns.
        reference: frozen model for the KL term, None without one.
        objective: SFT or policy objective.
        rewards: reward mix, None for objectives without a rollout.
        sampling: how completions are drawn, None for objectives without a rollout.
        seed: of the run.
        share_prompt: one prompt pass a group; False computes every row densely.
    """

    policy: Policy
    reference: Policy | None
    objective: Any
    rewards: Any
    sampling: Sampling | None
    seed: int
    share_prompt: bool

    def logprobs(self, policy: Policy, prompts: Encoded, ids: Tensor, mask: Tensor) -> Tensor:
        """[B*G, L] log-probabilities of completions, G consecutive rows a prompt."""
        score = prefix_logprobs if self.share_prompt else dense_logprobs
        return score(policy, prompts, ids, mask, self.sampling.scored_temperature if self.sampling else 1.0)
