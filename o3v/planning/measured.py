"""The plan beside the truth: one real step in a process of its own, its peak memory above the loaded model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from o3v.measure.case import StepCase
from o3v.planning.case import Lengths, PlanCase
from o3v.planning.memory import plan_memory
from o3v.planning.sizes import read_sizes
from o3v.planning.state import weight_bytes
from o3v.planning.together import LayoutCase, run_together
from o3v.planning.worker import measure_step

_MIB = 2**20


@dataclass(frozen=True)
class Checked:
    """One step, planned and measured.

    Attributes:
        label: its sizes in words.
        planned_mib: expected peak above the loaded model; under a layout, above nothing.
        measured_mib: peak resident memory above the same, of each run.
        moment: of the planned peak.
        parts_mib: part -> expected MiB at that moment; weights left out where they are no part of what is measured.
    """

    label: str
    planned_mib: float
    measured_mib: Sequence[float]
    moment: str
    parts_mib: Mapping[str, float]

    @property
    def error(self) -> float:
        """Planned over the mean of measured, minus 1."""
        return self.planned_mib * len(self.measured_mib) / sum(self.measured_mib) - 1

    def row(self) -> dict[str, Any]:
        """For a file."""
        return vars(self) | {"error": self.error}


def check_step(case: StepCase, kind: str, repeats: int) -> Checked:
    """Run a step in fresh processes, plan it, and put both beside each other.

    Args:
        case: sizes and model.
        kind: sft (`micro_batch` rows) or rl (one prompt, G completions).
        repeats: processes.
    """
    found = [measure_step(kind, case) for _ in range(repeats)]
    plan, sizes = planned_case(case, kind, found[0].frames), read_sizes(case.spec, case.vocab_size)
    memory = plan_memory(plan, sizes)
    parts = {name: size / _MIB for name, size in memory.moments[memory.moment].items() if name != "weights"}
    above = (memory.peak - weight_bytes(plan, sizes)) / _MIB
    return Checked(f"{kind}-{case.label}", above, [held.peak_mib for held in found], memory.moment, parts)


def check_layout(case: LayoutCase, kind: str, repeats: int) -> Checked:
    """As `check_step`, in several processes under a layout of training; memory is the first process', weights too.

    Args:
        case: sizes, model and layout.
        kind: as for `check_step`; each process has so many rows, or one prompt.
        repeats: runs.
    """
    found = [run_together(case, kind) for _ in range(repeats)]
    plan = replace(planned_case(case.step, kind, found[0].frames), engine=case.layout, devices=case.processes)
    memory = plan_memory(replace(plan, keep_whole=case.keep_whole), read_sizes(case.step.spec, case.step.vocab_size))
    parts = {name: size / _MIB for name, size in memory.moments[memory.moment].items()}
    label = f"{kind}-{case.layout}-{case.processes}x-{case.step.label}"
    return Checked(label, memory.peak / _MIB, [held.peak_mib for held in found], memory.moment, parts)


def planned_case(case: StepCase, kind: str, frames: int) -> PlanCase:
    """The plan of a measured step, in one process."""
    from o3v.models.family import find_family

    side = case.image_px // find_family(case.spec.family).factor
    rl = kind == "rl"
    return PlanCase(
        spec=case.spec,
        engine="cpu",
        devices=1,
        kind=kind,
        kl=rl and bool(case.objective.kl_coef),
        group_size=case.group_size if rl else 1,
        prompts=1 if rl else case.micro_batch,
        minibatches=1,
        updates_per_rollout=1,
        prompt_pass=case.prompt_pass,
        prompts_per_pass=None,
        lengths=Lengths(case.prompt, case.completion, frames, side**2, "given"),
        on_gpu=False,
        keep_whole=0,
    )
