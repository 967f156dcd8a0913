"""Configured cases: the measured model, and a tiny one that is quick."""

from __future__ import annotations

from pathlib import Path

from o3v.bench import step_case
from o3v.measure.case import StepCase
from tests.commands import composed

TINY = ("model=tiny_qwen2_5_vl", "vocab_size=600", "image_px=84", "prompt=60", "completion=5", "group_size=4")


def case(*overrides: str) -> StepCase:
    """The case of a command line."""
    return step_case(composed("bench_step", Path("unused"), *overrides))


def tiny_case(*overrides: str) -> StepCase:
    """A quick one: 84 px frames are 9 visual tokens each."""
    return case(*TINY, *overrides)
