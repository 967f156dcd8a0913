"""A plan in tables for a terminal, and as plain values for a file."""

from __future__ import annotations

from typing import Any

from o3v.planning.case import PlanCase
from o3v.planning.engines import find_engine
from o3v.planning.memory import GIB, Memory
from o3v.planning.sizes import Sizes
from o3v.planning.work import exchanged_bytes, step_work


def plan_values(case: PlanCase, sizes: Sizes, memory: Memory) -> dict[str, Any]:
    """Everything that a plan says."""
    learned = sizes.learned(case.spec.train_vision)
    return {
        "parameters": {"total": sizes.total, "vision": sizes.vision_parameters, "head": sizes.head, "learned": learned},
        "engine": case.engine,
        "devices": case.devices,
        "step": {"kind": case.kind, "prompts": case.prompts, "group_size": case.group_size, "pass": case.way},
        "lengths": vars(case.lengths),
        "gib": {name: {part: size / GIB for part, size in found.items()} for name, found in memory.moments.items()},
        "peak_gib": memory.peak / GIB,
        "moment": memory.moment,
        "host_gib": memory.host / GIB,
        "loading_gib": memory.loading / GIB,
        "tflop": {name: work.total / 1e12 for name, work in step_work(case, sizes).items()},
        "exchanged_gib": exchanged_bytes(case, sizes) / GIB,
    }


def plan_tables(values: dict[str, Any]) -> list[Any]:
    """The same as rich tables."""
    from rich.table import Table

    parts = list(dict.fromkeys(part for found in values["gib"].values() for part in found))
    memory = Table("GiB a device", *values["gib"], title=_title(values))
    for part in parts:
        memory.add_row(part, *(_number(found.get(part)) for found in values["gib"].values()))
    memory.add_section()
    memory.add_row("together", *(f"{sum(found.values()):.2f}" for found in values["gib"].values()))
    work = Table("TFLOP a step and device", *values["tflop"], "together")
    work.add_row("", *(f"{each:.2f}" for each in values["tflop"].values()), f"{sum(values['tflop'].values()):.2f}")
    return [memory, work]


def plan_notes(values: dict[str, Any]) -> list[str]:
    """What the tables do not say."""
    count, lengths = values["parameters"], values["lengths"]
    engine = find_engine(values["engine"])
    lines = [
        f"{count['total']:,} parameters (vision {count['vision']:,}), {count['learned']:,} of them learn",
        f"prompt {lengths['prompt']} tokens with {lengths['frames']} frames of {lengths['frame_tokens']}, "
        f"{lengths['completion']} after it: {lengths['source']}",
    ]
    if values["devices"] > 1:
        lines.append(f"each device sends {values['exchanged_gib']:.1f} GiB a step")
    if values["host_gib"]:
        lines.append(f"{values['host_gib']:.1f} GiB on the host for each device")
    if values["devices"] > 1:
        lines.append(f"while loading, each process holds {values['loading_gib']:.1f} GiB on its host")
    if engine.shards_weights and values["step"]["kind"] == "rl":
        lines.append("weights are gathered whole for the rollout")
    return lines


def _title(values: dict[str, Any]) -> str:
    step = values["step"]
    group = f", {step['group_size']} completions each" if step["kind"] == "rl" else ""
    devices = f"{values['devices']} x {values['engine']}"
    return f"{step['kind'].upper()}, {devices}: {step['prompts']} prompts a device{group}, {step['pass']} pass"


def _number(size: float | None) -> str:
    return "" if not size else f"{size:.2f}"
