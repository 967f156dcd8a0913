"""One rollout and the updates on it: prompts -> completions -> rewards -> advantages -> loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from o3v.data.stream import Batch, Example
from o3v.grounding.parse import parse_completion
from o3v.models.policy import Encoded
from o3v.rollout.sampler import sample_completions
from o3v.training.learner import Learner, Plan, Update
from o3v.training.rl_metrics import rollout_metrics
from o3v.types import Completion, RewardTable, Rollout


@dataclass(frozen=True)
class Experience:
    """A judged rollout: what the updates and the logs of one step read.

    Attributes:
        examples: B examples.
        rollout: their B*G completions.
        completions: B groups of G parsed texts.
        tables: B reward tables.
        advantages: [B, G].
    """

    examples: tuple[Example, ...]
    rollout: Rollout
    completions: tuple[tuple[Completion, ...], ...]
    tables: tuple[RewardTable, ...]
    advantages: Tensor


def rl_step(
    learner: Learner, batch: Batch, progress: float, update: Update, plan: Plan = int
) -> tuple[dict[str, float], Experience | None]:
    """Sample, judge, and learn from one batch of prompts.

    Args:
        learner: the parts.
        batch: B prompts.
        progress: share of the run that is done after this step, 0 to 1; reward schedules follow it.
        update: applies a loss.
        plan: is told how many updates follow.

    Returns:
        Metrics, and the experience for tables and pictures (None when no sample of the batch could be read).
    """
    if batch.encoded is None:
        plan(0)
        return {}, None
    prompts = batch.encoded.to(learner.policy.device)
    experience = collect(learner, batch, prompts, progress)
    metrics = rollout_metrics(experience) | _learn(learner, prompts, experience, update, plan)
    return metrics, experience


def collect(learner: Learner, batch: Batch, prompts: Encoded, progress: float) -> Experience:
    """Rollout [B*G, L] -> completions -> rewards [B, G, K] -> advantages [B, G]."""
    assert learner.sampling is not None
    seeds = completion_seeds(learner.seed, batch.number, len(batch.examples), learner.sampling.group_size)
    rollout = sample_completions(learner.policy, prompts, learner.sampling, seeds)
    groups = _in_groups(rollout.texts, rollout.group_size)
    completions = tuple(
        tuple(parse_completion(text, example.prompt.box_scale) for text in texts)
        for example, texts in zip(batch.examples, groups, strict=True)
    )
    tables = tuple(
        learner.rewards(group, example.sample, progress)
        for example, group in zip(batch.examples, completions, strict=True)
    )
    totals = torch.tensor([table.totals for table in tables], dtype=torch.float32)
    return Experience(batch.examples, rollout, completions, tables, learner.objective.advantages(totals))


def completion_seeds(seed: int, batch: int, prompts: int, group_size: int) -> list[int]:
    """Seeds of a batch's completions, different for every run seed, batch, prompt and completion.

    >>> len(set(completion_seeds(0, 0, 2, 4) + completion_seeds(0, 1, 2, 4) + completion_seeds(1, 0, 2, 4)))
    24
    """
    start = ((seed & 0xFFFF) << 44) + (batch << 20)
    return [start + k for k in range(prompts * group_size)]


def _in_groups(texts: Sequence[str], group_size: int) -> list[Sequence[str]]:
    return [texts[i : i + group_size] for i in range(0, len(texts), group_size)]


def _learn(learner: Learner, prompts: Encoded, experience: Experience, update: Update, plan: Plan) -> dict[str, float]:
    """`updates_per_rollout` passes over the groups that have a gradient, in `minibatches` parts each."""
    objective = learner.objective
    active = _active_groups(experience.advantages)
    parts = _split(active, objective.minibatches) if active else []
    plan(objective.updates_per_rollout * len(parts))
    if not parts:
        return {"skipped_update": 1.0}
    sums: dict[str, list[float]] = {}
    for _ in range(objective.updates_per_rollout):
        for groups in parts:
            for name, value in _update_on(learner, prompts, experience, groups, update).items():
                sums.setdefault(name, []).append(value)
    return {"skipped_update": 0.0} | {name: sum(values) / len(values) for name, values in sums.items()}


def _active_groups(advantages: Tensor) -> list[int]:
    """Groups that can move the policy: a group of equal rewards has advantage 0 everywhere.

    The others are skipped whole, the KL term's pull on them included, which saves their forward and backward.
    """
    return [b for b in range(len(advantages)) if bool(advantages[b].abs().sum() > 0)]


def _split(items: list[int], parts: int) -> list[list[int]]:
    """Nearly equal consecutive parts, none empty.

    >>> _split([1, 2, 3, 4, 5], 2)
    [[1, 2, 3], [4, 5]]
    >>> _split([1], 4)
    [[1]]
    """
    parts = min(parts, len(items))
    bounds = [-(-len(items) * k // parts) for k in range(parts + 1)]
    return [items[a:b] for a, b in pairwise(bounds)]


def _update_on(
    learner: Learner, prompts: Encoded, experience: Experience, groups: list[int], update: Update
) -> dict[str, float]:
    rollout = experience.rollout
    rows = [b * rollout.group_size + g for b in groups for g in range(rollout.group_size)]
    mask = rollout.completion_mask[rows]
    width = int(mask.sum(1).max())
    ids, mask, old = rollout.ids[rows, :width], mask[:, :width], rollout.logprobs[rows, :width]
    part = prompts.select(groups)
    reference = None
    if learner.reference is not None:
        with torch.no_grad():
            reference = learner.logprobs(learner.reference, part, ids, mask)
    logprobs = learner.logprobs(learner.policy, part, ids, mask)
    advantages = experience.advantages[groups].flatten().to(logprobs.device)
    output = learner.objective.loss(logprobs, old, reference, advantages, mask)
    grad_norm = update(output.loss, True)
    metrics = {name: float(value) for name, value in output.metrics.items()}
    return metrics | {"loss": float(output.loss.detach()), "grad_norm": grad_norm}
