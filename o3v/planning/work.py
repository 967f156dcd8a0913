"""Floating-point operations of a planned step, and bytes that its devices exchange."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from o3v.measure.floor import PassWork, Work, language_work, total, vision_work
from o3v.planning.case import PlanCase
from o3v.planning.engines import find_engine
from o3v.planning.sizes import Sizes
from o3v.planning.state import gradient_bytes, weight_bytes


@dataclass(frozen=True)
class How:
    """What a step does with a group: a prompt and its completions, or its target.

    Attributes:
        way: the training pass, see `PlanCase.way`.
        draws: the completions are drawn by this device.
        kl: there is a reference.
        train_vision: the tower learns.
        only_adapters: nothing else learns.
        checkpointing: what is differentiated is computed again in the backward pass.
        updates: passes over the group, an optimizer step each.
        scores_old: the group is scored once more before the first of several updates.
    """

    way: str
    draws: bool
    kl: bool
    train_vision: bool
    only_adapters: bool
    checkpointing: bool
    updates: int = 1
    scores_old: bool = False


def step_work(case: PlanCase, sizes: Sizes) -> Mapping[str, Work]:
    """Work of one device's step by phase, by the configured pass; see `group_work` for the phases."""
    work, size = pass_work(case, sizes), case.group_size if case.kind == "rl" else 1
    how = How(
        case.way,
        case.kind == "rl",
        case.kind == "rl" and case.kl,
        case.spec.train_vision,
        sizes.adapters > 0,
        case.spec.gradient_checkpointing,
    )
    group = PassWork(work.vision, work.prompt, size * work.completion)
    return {name: float(case.prompts) * part for name, part in group_work(group, size, how).items()}


def group_work(group: PassWork, size: int, how: How) -> dict[str, Work]:
    """Work on one group by phase; see `o3v.measure.floor` for the kinds.

    A backward pass is twice its forward pass; where only adapters learn, once (gradients of inputs alone), and a frozen
    tower has none. Checkpointing adds the forward pass of what is differentiated (`again`).

    Args:
        group: the prompt's frames and tokens once, and all completions together.
        size: completions of the group.
        how: what is done.
    """
    prompt = group.vision + group.prompt
    copies = size if how.way == "dense" else 1
    whole = copies * prompt + group.completion
    back = 2 * whole
    if not how.train_vision:
        frozen = 2 * copies * group.vision
        back = Work(back.products - frozen.products, back.attention - frozen.attention)
    if how.only_adapters:
        back = Work(back.products / 2, back.attention)
    forward = group.completion if how.way == "kept" else whole
    phases = {"rollout": prompt + group.completion} if how.draws else {}
    if how.way == "kept" and not how.draws:  # drawn elsewhere, but read here
        phases["rollout"] = prompt
    phases |= {"forward": how.updates * forward, "backward": how.updates * back}
    phases |= {"ref": how.updates * whole} if how.kl else {}
    phases |= {"old": whole} if how.scores_old else {}
    return phases | ({"again": how.updates * whole} if how.checkpointing else {})


def pass_work(case: PlanCase, sizes: Sizes) -> PassWork:
    """One forward pass over each part of a row, in the lengths of the case."""
    prompt, own = case.lengths.prompt, case.lengths.completion
    merge = sizes.vision.spatial_merge_size * sizes.vision.patch_size
    side = max(1, round(math.sqrt(case.lengths.frame_tokens))) * merge
    pairs = own * prompt + own * (own + 1) / 2
    return PassWork(
        float(case.lengths.frames) * vision_work(sizes.vision, side),
        language_work(sizes.text, prompt, prompt * (prompt + 1) / 2, scored=0),
        language_work(sizes.text, own, pairs, scored=own),
    )


def total_work(case: PlanCase, sizes: Sizes) -> float:
    """Operations of a device's step."""
    return total(step_work(case, sizes)).total


def exchanged_bytes(case: PlanCase, sizes: Sizes) -> float:
    """Bytes that one device sends in a step: gradients reduced, sharded weights gathered.

    A ring sends 2 (n - 1) / n of what is all-reduced and (n - 1) / n of what is gathered or reduced and scattered.
    ZeRO-2 scatters gradients and gathers the updated weights. ZeRO-3 and FSDP2 gather weights for the forward and the
    backward part of every pass, once for a rollout, and a reference's for every pass; each pass scatters gradients.
    """
    engine, ring = find_engine(case.engine), (case.devices - 1) / case.devices
    weights, gradients = weight_bytes(case, sizes), gradient_bytes(case, sizes)
    if not engine.shards_gradients:
        return 2 * ring * gradients
    rl = case.kind == "rl"
    updates = case.updates_per_rollout * min(case.minibatches, case.prompts) if rl else 1
    passes = updates * case.passes
    if not engine.shards_weights:
        updated = sizes.learned(case.spec.train_vision) * case.bytes_each
        return ring * (passes * gradients + updates * updated)
    gathers = passes * (3 if rl and case.kl else 2) + (1 if rl else 0)
    return ring * (gathers * weights + passes * gradients)
