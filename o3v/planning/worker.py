"""One planned step in its own process: `python -m o3v.planning.worker KIND CASE.pkl RESULT.json`.

A small step first, on a small model that is then let go, so that code which is loaded at first use counts as no memory
of the step. Freed memory goes back to the system, as it does by default and other than under trainer=cpu: what is
compared with a plan is what a step holds at one time, not how an allocator keeps it.
"""

from __future__ import annotations

import importlib
import json
import pickle
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from o3v.measure.case import StepCase
from o3v.measure.clock import Meter, Reading, peak_memory, reset_peak_memory
from o3v.measure.worker import run_apart

ARMS = {"sft": "sft", "rl": "shared"}
"""Kind of a step -> the module of `o3v.measure` that runs it."""

_SMALL_PROMPT = 160
MMAP_BYTES = "65536"
"""Blocks from this size on are the system's own, so that a freed one is gone (glibc)."""


@dataclass(frozen=True)
class Held:
    """What a step held.

    Attributes:
        base_mib: resident memory with the model loaded.
        peak_mib: highest memory above it.
        frames: images of the prompt.
        patches: vision patches of the prompt.
    """

    base_mib: float
    peak_mib: float
    frames: int
    patches: int


def measure_step(kind: str, case: StepCase) -> Held:
    """Run a first and `case.steps` further steps in a fresh process; the peak is over all of them.

    Raises:
        ArmError: the process failed.
    """
    return Held(**run_apart("o3v.planning.worker", kind, case, {"MALLOC_MMAP_THRESHOLD_": MMAP_BYTES}))


def run_step(kind: str, case: StepCase) -> Held:
    """Measure in this process."""
    import torch

    from o3v.measure.model import frames_prompt, random_policy

    torch.set_num_threads(case.threads)
    module = importlib.import_module(f"o3v.measure.{ARMS[kind]}")
    small = small_case(case)
    policy = random_policy(small)
    module.run(small, policy, frames_prompt(policy, small.prompt, small.image_px, 0), [_silent(), _silent()])
    policy = random_policy(case)
    prompt = frames_prompt(policy, case.prompt, case.image_px, case.seed)
    patches = len(policy.encode([prompt]).pixel_values)
    base = reset_peak_memory()
    module.run(case, policy, prompt, [_silent() for _ in range(1 + case.steps)])
    return Held(base, peak_memory() - base, len(prompt.clip.frames), patches)


def small_case(case: StepCase) -> StepCase:
    """The same code on two layers and few tokens."""
    architecture: dict[str, Any] = dict(case.spec.architecture or {})
    architecture["text"] = architecture["text"] | {"num_hidden_layers": 2}
    short = replace(case.sampling, max_new_tokens=4)
    return replace(case, spec=replace(case.spec, architecture=architecture), sampling=short, prompt=_SMALL_PROMPT)


def _silent() -> Meter:
    @contextmanager
    def nothing() -> Iterator[Any]:
        reading: Reading = {}
        yield lambda: reading

    return Meter(nothing)


def main() -> None:
    """Entry point of the process."""
    kind, given, result = sys.argv[1:]
    case: StepCase = pickle.loads(Path(given).read_bytes())  # written by the parent process a moment ago
    Path(result).write_text(json.dumps(asdict(run_step(kind, case))))


if __name__ == "__main__":
    main()
