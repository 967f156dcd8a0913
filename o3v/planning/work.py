"""Floating-point operations of a planned step, and bytes that its devices exchange."""

from __future__ import annotations

import math
from collections.abc import Mapping

from o3v.measure.floor import PassWork, Work, dense_work, floor_work, language_work, total, vision_work
from o3v.planning.engines import find_engine
from o3v.planning.memory import PlanCase, weight_bytes
from o3v.planning.sizes import Sizes


def step_work(case: PlanCase, sizes: Sizes) -> Mapping[str, Work]:
    """Work of one device's step by phase, by the configured pass; see `o3v.measure.floor` for the kinds.

    A backward pass is twice its forward pass; where only adapters learn, once (gradients of inputs alone), and a frozen
    tower has none. Checkpointing adds the forward pass of what is differentiated.
    """
    work = pass_work(case, sizes)
    times = float(case.prompts)
    phases = _sft(work) if case.kind == "sft" else _rl(case, work)
    back = phases["backward"]
    frozen = 2 * work.vision * (case.group_size if case.way == "dense" and case.kind == "rl" else 1)
    if not case.spec.train_vision:
        back = Work(back.products - frozen.products, back.attention - frozen.attention)
    if sizes.adapters:
        back = Work(back.products / 2, back.attention)
    again = {"again": 0.5 * phases["backward"]} if case.spec.gradient_checkpointing else {}
    return {name: times * part for name, part in (dict(phases) | {"backward": back} | again).items()}


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
    ZeRO-3 and FSDP2 gather weights for the forward pass, for the backward pass and, in RL, once for the rollout.
    """
    engine, ring = find_engine(case.engine), (case.devices - 1) / case.devices
    learned = sizes.learned(case.spec.train_vision) * (4 if sizes.adapters else case.bytes_each)
    if not engine.shards_weights:
        return 2 * ring * learned
    gathers = 2 + (1 if case.kind == "rl" else 0)
    return ring * (gathers * weight_bytes(case, sizes) + learned)


def _sft(work: PassWork) -> dict[str, Work]:
    return {"forward": work.row, "backward": 2 * work.row}


def _rl(case: PlanCase, work: PassWork) -> dict[str, Work]:
    if case.way == "dense":
        phases = dict(dense_work(work, case.group_size, case.kl))
        return phases | {"rollout": work.vision + work.prompt + case.group_size * work.completion}
    phases = dict(floor_work(work, case.group_size, case.kl))
    if case.way != "kept":  # the prompt is read once more
        phases["forward"] = phases["forward"] + work.vision + work.prompt
    return phases
