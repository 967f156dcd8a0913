"""The updates on one judged rollout: which groups, in which parts, with which old log-probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from o3v.models.head import TokenScores
from o3v.models.policy import Encoded
from o3v.models.prefix import Prefix
from o3v.objectives.aggregation import UpdateSize
from o3v.objectives.output import LossOutput
from o3v.objectives.ratio_metrics import merged_metrics
from o3v.sections import in_section
from o3v.training.learner import Learner, Update
from o3v.training.peers import Peers

if TYPE_CHECKING:
    from o3v.training.rl_step import Experience


def learn(
    learner: Learner,
    prompts: Encoded,
    kept: list[Prefix] | None,
    experience: Experience,
    update: Update,
    peers: Peers,
) -> dict[str, float]:
    """`updates_per_rollout` passes over the groups that have a gradient, in `minibatches` parts each.

    A group of equal rewards has advantage 0 everywhere. It is skipped whole, the KL term's pull on it included, which
    saves its forward and backward; in the loss' denominators it counts, so that the scale of an update does not depend
    on how many groups had something to teach, on this process or on another.
    """
    rollout = _Rollout(learner, prompts, kept, experience, None)
    minibatches = rollout.minibatches()
    updates = minibatches * learner.objective.updates_per_rollout
    own = rollout.work(minibatches)
    agreed = own.agreed(learner, peers)
    rollout = replace(rollout, old=_old_logprobs(rollout, minibatches, own.recomputed))
    _recompute_blank(learner, prompts.agreed_passes, agreed.recomputed - own.recomputed)
    sums: dict[str, list[float]] = {}
    for groups, parts in zip(updates, agreed.parts, strict=False):
        for name, value in _update_on(rollout, groups, parts, update).items():
            sums.setdefault(name, []).append(value)
    _join(learner, prompts.agreed_passes, agreed.parts[len(updates) :], update)
    means = {name: sum(values) / len(values) for name, values in sums.items()}
    return {"skipped_update": float(not minibatches)} | means


def join_updates(learner: Learner, vision_passes: int, update: Update, peers: Peers) -> None:
    """Make the passes of a step that other processes make, without anything to learn from."""
    agreed = Work(0, ()).agreed(learner, peers)
    _recompute_blank(learner, vision_passes, agreed.recomputed)
    _join(learner, vision_passes, agreed.parts, update)


class Work(NamedTuple):
    """Passes of a step.

    Attributes:
        recomputed: for old log-probabilities.
        parts: passes with gradient of each update.
    """

    recomputed: int
    parts: Sequence[int]

    def agreed(self, learner: Learner, peers: Peers) -> Work:
        """The most of each that any process of the run has."""
        updates = learner.objective.updates_per_rollout * learner.objective.minibatches
        recomputed, *parts = peers.most([self.recomputed, *self.parts, *[0] * (updates - len(self.parts))])
        return Work(recomputed, [count for count in parts if count])


def _join(learner: Learner, vision_passes: int, updates: Sequence[int], update: Update) -> None:
    """Blank updates, of so many blank parts each."""
    for parts in updates:
        for part in range(parts):
            update(learner.blank_loss(vision_passes), part + 1 == parts)


@torch.no_grad()
def _recompute_blank(learner: Learner, vision_passes: int, passes: int) -> None:
    """Blank passes beside those in which others compute old log-probabilities."""
    for _ in range(passes):
        learner.blank_scores(vision_passes)


@dataclass(frozen=True)
class _Rollout:
    """What every update of a step reads."""

    learner: Learner
    prompts: Encoded
    kept: list[Prefix] | None
    experience: Experience
    old: Tensor | None  # [B*G, L]; None: the first values of the only update are the old ones

    def minibatches(self) -> list[list[int]]:
        """Groups of each update; without those that teach nothing where a whole minibatch does not."""
        is_flat = self.experience.flat.tolist()
        parts = split(list(range(len(is_flat))), self.learner.objective.minibatches)
        return [part for part in parts if not all(is_flat[b] for b in part)]

    def work(self, minibatches: Sequence[Sequence[int]]) -> Work:
        """Passes that this process has to make."""
        parts = [len(self.parts(self.teaching(groups))) for groups in minibatches]
        parts *= self.learner.objective.updates_per_rollout
        chunks = self.learner.passes.chunks([b for part in minibatches for b in part])
        return Work(len(chunks) if self.recomputes(len(parts)) else 0, parts)

    def recomputes(self, updates: int) -> bool:
        """Whether old log-probabilities take passes of their own; those of an only update are its first values."""
        return self.learner.passes.old_logprobs == "recompute" and updates > 1

    def teaching(self, groups: Sequence[int]) -> list[int]:
        """Those of some groups that have a gradient."""
        return [b for b in groups if not self.experience.flat[b]]

    def rows(self, groups: Sequence[int]) -> Tensor:
        size = self.experience.rollout.group_size
        return torch.tensor([b * size + g for b in groups for g in range(size)], device=self.experience.counted.device)

    def completions(self, groups: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Row numbers, ids and mask of some groups, as wide as their longest completion."""
        rows = self.rows(groups)
        mask = self.experience.rollout.completion_mask[rows]
        width = int(mask.sum(1).max())
        return rows, self.experience.rollout.ids[rows, :width], mask[:, :width]

    def parts(self, groups: Sequence[int]) -> list[tuple[list[int], Prefix | None]]:
        """An update's groups in the parts that go through the model together, with the prompts that were kept."""
        if self.kept is None:
            return [(part, None) for part in self.learner.passes.chunks(list(groups))]
        everyone = self.learner.passes.chunks(list(range(len(self.experience.examples))))
        found: list[tuple[list[int], Prefix | None]] = []
        for prefix, members in zip(self.kept, everyone, strict=True):
            places = [place for place, b in enumerate(members) if b in groups]
            if places:
                found.append(([members[place] for place in places], prefix.select(places)))
        return found

    def scores(self, groups: Sequence[int], prefix: Prefix | None) -> TokenScores:
        _, ids, mask = self.completions(groups)
        if prefix is not None:
            return self.learner.kept_scores(prefix, ids, mask)
        return self.learner.scores(self.prompts.select(groups), ids, mask)


def _update_on(rollout: _Rollout, groups: Sequence[int], agreed_parts: int, update: Update) -> dict[str, float]:
    """One optimizer step: the parts' gradients add up to that of all groups at once, blank parts add nothing."""
    total = UpdateSize.of(rollout.experience.counted[rollout.rows(groups)])
    parts = rollout.parts(rollout.teaching(groups))
    outputs, entropies, tokens, grad_norm = [], [], [], 0.0
    old = torch.zeros_like(rollout.experience.rollout.logprobs)
    for number, (members, prefix) in enumerate(parts, 1):
        output, entropy = _loss(rollout, members, prefix, total, old)
        grad_norm = update(output.loss, number == agreed_parts)
        outputs.append(replace(output, loss=output.loss.detach()))
        entropies.append(float(entropy.sum()))
        tokens.append(len(entropy))
    for number in range(len(parts) + 1, agreed_parts + 1):
        grad_norm = update(rollout.learner.blank_loss(rollout.prompts.agreed_passes), number == agreed_parts)
    metrics = {name: float(value) for name, value in merged_metrics(outputs).items()}
    loss = sum(float(output.loss) for output in outputs)
    metrics |= {"loss": loss, "grad_norm": grad_norm, "entropy": sum(entropies) / max(sum(tokens), 1)}
    return metrics | _engine_metrics(rollout, [b for members, _ in parts for b in members], old)


@in_section("loss")
def _loss(
    rollout: _Rollout, groups: Sequence[int], prefix: Prefix | None, total: UpdateSize, all_old: Tensor
) -> tuple[LossOutput, Tensor]:
    """Loss of some groups, and the entropies of their tokens; notes in `all_old` what the loss took as old."""
    learner, experience = rollout.learner, rollout.experience
    rows, ids, mask = rollout.completions(groups)
    reference = None if learner.reference is None else learner.ref_logprobs(rollout.prompts.select(groups), ids, mask)
    scores = rollout.scores(groups, prefix)
    old = scores.logprobs.detach() if rollout.old is None else rollout.old[rows, : ids.shape[1]]
    all_old[rows, : ids.shape[1]] = old
    counted = experience.counted[rows, : ids.shape[1]]
    advantages = experience.advantages[list(groups)].flatten().to(ids.device)
    arguments = (scores.logprobs, old, reference, advantages, counted, total)
    if learner.engine is None:
        return learner.objective.loss(*arguments), scores.entropy[counted]
    drawn = experience.rollout.logprobs[rows, : ids.shape[1]]
    weights = learner.engine.correction.weights(old, drawn, counted)
    return learner.objective.loss(*arguments, weights), scores.entropy[counted]


def _engine_metrics(rollout: _Rollout, groups: Sequence[int], old: Tensor) -> dict[str, float]:
    """How far the engine is from the policy that learns, on the groups of an update; nothing without an engine."""
    engine = rollout.learner.engine
    if engine is None:
        return {}
    rows = rollout.rows(groups)
    drawn, counted = rollout.experience.rollout.logprobs, rollout.experience.counted
    return engine.correction.metrics(old[rows], drawn[rows], counted[rows])


def _old_logprobs(rollout: _Rollout, minibatches: Sequence[Sequence[int]], passes: int) -> Tensor | None:
    """[B*G, L] log-probabilities under the policy that sampled, by the configured way."""
    learner, sampled = rollout.learner, rollout.experience.rollout.logprobs
    if learner.passes.old_logprobs == "rollout":
        return sampled
    if not passes:
        return None
    old = torch.zeros_like(sampled)
    with torch.no_grad():
        for part in learner.passes.chunks([b for groups in minibatches for b in groups]):
            rows, ids, _ = rollout.completions(part)
            old[rows, : ids.shape[1]] = rollout.scores(part, None).logprobs
    return old


def split(items: list[int], parts: int) -> list[list[int]]:
    """Nearly equal consecutive parts, none empty.

    >>> split([1, 2, 3, 4, 5], 2)
    [[1, 2, 3], [4, 5]]
    >>> split([1], 4)
    [[1]]
    """
    parts = min(parts, len(items))
    bounds = [-(-len(items) * k // parts) for k in range(parts + 1)]
    return [items[a:b] for a, b in pairwise(bounds)]
