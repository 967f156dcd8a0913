"""The nearest change with which a plan fits: single changes first, each list from the smallest to the largest."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from itertools import combinations

from o3v.errors import UserError
from o3v.planning.case import PlanCase
from o3v.planning.engines import PRESETS, find_engine
from o3v.planning.memory import GIB, plan_memory
from o3v.planning.sizes import Sizes, language_adapters

_RANK = 16
_MOST_TOGETHER = 3
_MOST_DEVICES = 512
_A_NODE = 8
_FEWEST = 4
"""Frames that conf/data takes of the shortest video."""


class PlanError(UserError):
    """A plan that cannot fit; the text names the nearest change that would."""


@dataclass(frozen=True)
class Change:
    """One change of a plan.

    Attributes:
        words: overrides, as on the command line of `o3v.plan` and of `o3v.train`.
        case: the changed step.
        sizes: of its model.
    """

    words: str
    case: PlanCase
    sizes: Sizes


Step = Callable[[PlanCase, Sizes], Change | None]


def check_fits(case: PlanCase, sizes: Sizes, limit_gib: float, given: Collection[str] = ()) -> None:
    """Refuse a step that needs more memory than there is.

    Args:
        case: the step.
        sizes: of its model.
        limit_gib: what there is.
        given: keys of `o3v.plan` (layout, gpus) that stand above those of a change, where they are used.

    Raises:
        PlanError: one sentence with what is needed, what there is, and the nearest change that fits.
    """
    memory = plan_memory(case, sizes)
    if memory.peak <= limit_gib * GIB:
        return
    parts = memory.moments[memory.moment]
    largest = max(parts, key=lambda name: parts[name])
    found = nearest_change(case, sizes, limit_gib)
    remedy = "no change that is known here would make it fit"
    if found is not None:
        peak = plan_memory(found.case, found.sizes).peak / GIB
        remedy = f"the nearest change that fits ({peak:.1f} GiB) is {found.words}{_without(found, given)}"
    raise PlanError(
        f"this plan needs {memory.peak / GIB:.1f} GiB on each device and {limit_gib:.1f} GiB may be used "
        f"(highest in the {memory.moment}, most of it {largest}, {parts[largest] / GIB:.1f} GiB); {remedy}"
    )


def _without(change: Change, given: Collection[str]) -> str:
    stronger = {"layout": "trainer=", "gpus": "cluster."}
    names = [f"{name}=" for name in given if stronger[name] in change.words]
    return f" (without {' and '.join(names)})" if names else ""


def nearest_change(case: PlanCase, sizes: Sizes, limit_gib: float) -> Change | None:
    """The first change, then pair, then triple of changes that fits; None if there is none.

    Changes come in the order of `changes`, from what leaves results as they are to what trains another model.
    """
    for together in range(1, _MOST_TOGETHER + 1):
        for chosen in combinations(changes(case), together):
            found = _apply(chosen, case, sizes)
            if found is not None and plan_memory(found.case, found.sizes).peak <= limit_gib * GIB:
                return found
    return None


def changes(case: PlanCase) -> list[Step]:
    """What can be changed, smallest first."""
    found: list[Step] = [_one_prompt_a_pass, _checkpointing, _fewer_prompts]
    found += [_fewer_frames(share) for share in (0.75, 0.5, 0.25)]
    found += [_engine(name) for name in ("zero2", "fsdp2", "zero3", "zero3_offload")] if case.on_gpu else []
    if case.on_gpu:
        found += [_more_devices(times) for times in (2, 4, 8)]
    return [*found, _frozen_tower, _adapters]


def _apply(chosen: tuple[Step, ...], case: PlanCase, sizes: Sizes) -> Change | None:
    words = []
    for step in chosen:
        found = step(case, sizes)
        if found is None:
            return None
        case, sizes = found.case, found.sizes
        words.append(found.words)
    return Change(" ".join(words), case, sizes)


def _one_prompt_a_pass(case: PlanCase, sizes: Sizes) -> Change | None:
    if case.kind == "sft" or case.pass_prompts == 1:
        return None
    return Change("trainer.prompts_per_pass=1", replace(case, prompts_per_pass=1), sizes)


def _checkpointing(case: PlanCase, sizes: Sizes) -> Change | None:
    if case.spec.gradient_checkpointing:
        return None
    spec = replace(case.spec, gradient_checkpointing=True)
    return Change("model.gradient_checkpointing=true", replace(case, spec=spec), sizes)


def _fewer_prompts(case: PlanCase, sizes: Sizes) -> Change | None:
    if case.prompts == 1:
        return None
    fewer = max(1, case.prompts // 2)
    return Change(f"trainer.prompts_per_device={fewer}", replace(case, prompts=fewer), sizes)


def _fewer_frames(share: float) -> Step:
    def step(case: PlanCase, sizes: Sizes) -> Change | None:
        """Fewer frames of the even spread."""
        old = case.lengths
        frames = int(old.frames * share)
        if frames < 1 or frames == old.frames:
            return None
        prompt = old.prompt - (old.frames - frames) * (old.prompt // max(old.frames, 1))
        lengths = replace(old, prompt=max(prompt, 1), frames=frames)
        spread = frames - old.key_frames
        if spread < _FEWEST:
            return None
        words = f"data.reader.sampling.max_frames={spread}"
        return Change(words, replace(case, lengths=lengths), sizes)

    return step


def _engine(name: str) -> Step:
    def step(case: PlanCase, sizes: Sizes) -> Change | None:
        """Another layout."""
        spreads_weights = find_engine(name).shards_weights
        if name == case.engine or (case.devices == 1 and name != "zero3_offload"):
            return None
        if sizes.quantised and spreads_weights:  # `o3v.training.layouts.check_sharded`
            return None
        return Change(f"trainer={PRESETS[name]}", replace(case, engine=name), sizes)

    return step


def _more_devices(times: int) -> Step:
    def step(case: PlanCase, sizes: Sizes) -> Change | None:
        """More processes, in whole nodes beyond one."""
        layout = find_engine(case.engine)
        more = case.devices * times
        if not layout.shards_optimizer or more > _MOST_DEVICES or (more > _A_NODE and more % _A_NODE):
            return None
        nodes = f" cluster.nodes={more // _A_NODE}" if more > _A_NODE else ""
        words = f"cluster.tasks_per_node={min(more, _A_NODE)}{nodes}"
        return Change(words, replace(case, devices=more), sizes)

    return step


def _frozen_tower(case: PlanCase, sizes: Sizes) -> Change | None:
    if not case.spec.train_vision or sizes.adapters:
        return None
    return Change("model.train_vision=false", replace(case, spec=replace(case.spec, train_vision=False)), sizes)


def _adapters(case: PlanCase, sizes: Sizes) -> Change | None:
    if sizes.adapters:
        return None
    spec = replace(case.spec, lora=replace(case.spec.lora, rank=_RANK))
    more = replace(sizes, adapters=language_adapters(sizes.text, _RANK, spec.lora.target_modules))
    return Change(f"model.lora.rank={_RANK}", replace(case, spec=spec), more)
