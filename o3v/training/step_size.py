"""What a step has computed on: true lengths, tokens and operations, from the batch and its rollout."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from o3v.data.stream import Batch
from o3v.measure.floor import PassWork, Work, frame_work, language_work, total
from o3v.models.lora import has_adapter
from o3v.models.policy import Encoded
from o3v.planning.work import How, group_work

if TYPE_CHECKING:
    from o3v.training.learner import Learner
    from o3v.training.rl_step import Experience


@dataclass(frozen=True)
class Group:
    """One prompt with its completions, or its target.

    Attributes:
        prompt: tokens, vision tokens included, padding not.
        completions: tokens of each completion or of the target, the end included.
        frames: patches down and across of every frame that the vision tower sees.
        learns: it was in a training pass; a group whose rewards are all equal is not.
    """

    prompt: int
    completions: tuple[int, ...]
    frames: tuple[tuple[int, int], ...]
    learns: bool


def groups_of(batch: Batch, experience: Experience | None) -> tuple[Group, ...]:
    """A step's groups as they were; none where no sample could be read.

    Args:
        batch: its prompts, and in SFT the targets.
        experience: of an RL step; completions that were thrown away and drawn again are not in it.
    """
    if batch.encoded is None:
        return ()
    if experience is not None:
        lengths = experience.rollout.completion_mask.sum(1).reshape(len(batch.examples), -1).tolist()
        learns = [not flat for flat in experience.flat.tolist()]
    else:
        assert batch.target_mask is not None
        lengths, learns = batch.target_mask.sum(1, keepdim=True).tolist(), [True] * len(batch.examples)
    prompts, frames = batch.encoded.attention_mask.sum(1).tolist(), _frames(batch.encoded)
    return tuple(
        Group(prompt, tuple(own), seen, learned)
        for prompt, own, seen, learned in zip(prompts, lengths, frames, learns, strict=True)
    )


def how_of(learner: Learner, groups: Sequence[Group]) -> How:
    """What a learner does with groups that have something to teach."""
    model, objective = learner.policy.model, learner.objective
    count, adapters = len(groups), has_adapter(learner.policy)
    if not objective.needs_rollout:
        return How("dense", False, False, _learns(model.model.visual), adapters, False)
    keeps = learner.keeps_graph(count)
    way = "split" if learner.passes.way == "kept" and not keeps else learner.passes.way
    return How(
        way=way,
        draws=learner.engine is None,
        kl=learner.reference is not None,
        train_vision=_learns(model.model.visual),
        only_adapters=adapters,
        checkpointing=False,  # model operations, not those of computing something again
        updates=objective.updates_per_rollout,
        scores_old=learner.passes.old_logprobs == "recompute" and learner.updates(count) > 1,
    )


def train_tokens(groups: Sequence[Group], how: How) -> int:
    """Tokens through training passes: of each group that learns, once an update.

    A prompt counts once a group, and with `dense` once a completion, as it goes through the model.

    >>> how = How("kept", True, False, True, False, False)
    >>> train_tokens([Group(10, (3, 4), (), True), Group(20, (5, 5), (), False)], how)
    17
    """
    copies = [len(group.completions) if how.way == "dense" else 1 for group in groups]
    return how.updates * sum(
        times * group.prompt + sum(group.completions)
        for group, times in zip(groups, copies, strict=True)
        if group.learns
    )


def drawn_tokens(groups: Sequence[Group]) -> int:
    """Tokens of all completions.

    >>> drawn_tokens([Group(10, (3, 4), (), True), Group(20, (5, 5), (), False)])
    17
    """
    return sum(sum(group.completions) for group in groups)


def model_work(config: Any, groups: Sequence[Group], how: How) -> Work:
    """Operations of a step by the formulas of `o3v.planning.work`, without those of gradient checkpointing.

    Args:
        config: transformers' configuration of the model.
        groups: all of them; one that does not learn has its rollout only.
        how: what is done with those that learn.
    """
    parts = Work(0.0, 0.0)
    for group in groups:
        phases = group_work(_pass_work(config, group), len(group.completions), how)
        parts += total(phases) if group.learns else phases.get("rollout", Work(0.0, 0.0))
    return parts


def _pass_work(config: Any, group: Group) -> PassWork:
    text, prompt = config.text_config, group.prompt
    frames = [times * frame_work(config.vision_config, *size) for size, times in Counter(group.frames).items()]
    own = [language_work(text, n, n * prompt + n * (n + 1) / 2, scored=n) for n in group.completions]
    read = language_work(text, prompt, prompt * (prompt + 1) / 2, scored=0)
    return PassWork(sum(frames, Work(0.0, 0.0)), read, sum(own, Work(0.0, 0.0)))


def _frames(encoded: Encoded) -> list[tuple[tuple[int, int], ...]]:
    """Of each prompt."""
    images, videos = _split(encoded.image_grid_thw, encoded.images), _split(encoded.video_grid_thw, encoded.videos)
    return [
        tuple((down, across) for times, down, across in [*own, *films] for _ in range(times))
        for own, films in zip(images, videos, strict=True)
    ]


def _split(grids: Tensor, counts: Sequence[int]) -> list[list[list[int]]]:
    return [part.tolist() for part in grids.split(list(counts))]


def _learns(module: Any) -> bool:
    return any(weight.requires_grad for weight in module.parameters())
