"""One arm in its own process: `python -m o3v.measure.worker ARM CASE.pkl RESULT.json`.

A process of its own makes the peak memory the arm's, and lets no arm warm up another.
"""

from __future__ import annotations

import importlib
import json
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from o3v.errors import UserError
from o3v.measure.case import StepCase
from o3v.measure.clock import Meter, Reading, cpu_seconds, peak_memory, product_rate, reset_peak_memory
from o3v.measure.floor import Work, floor_work, pass_work
from o3v.training.memory import keep_freed_memory

if TYPE_CHECKING:
    from o3v.models.policy import Policy
    from o3v.types import Prompt

_SHOWN_CHARACTERS = 3000


class ArmError(UserError):
    """An arm's process failed; the text ends with what it said."""


@dataclass(frozen=True)
class ArmResult:
    """What one arm's process measured.

    Attributes:
        arm: its name.
        first: phases of the first step: phase -> {"cpu_s": seconds}.
        later: the same of each step after it.
        counts: phases of a step under the counter: phase -> readings of `o3v.measure.counters.counter`; empty if that
            was not asked for.
        base_mb: resident memory with the model loaded, MiB.
        peak_mb: highest memory above it during the timed steps.
        floor: phase -> `products` and `attention` operations that are needed at least.
        frames: images of the prompt.
        patches: vision patches of the prompt.
        gflops: library (`torch`, `onednn`) -> rate of a large matrix product in this process, the better of before and
            after, 1e9 operations a CPU second.
        notes: what a reader of the figures must know.
    """

    arm: str
    first: dict[str, Reading]
    later: list[dict[str, Reading]]
    counts: dict[str, Reading]
    base_mb: float
    peak_mb: float
    floor: dict[str, Reading]
    frames: int
    patches: int
    gflops: dict[str, float]
    notes: list[str]


def measure_arm(arm: str, case: StepCase) -> ArmResult:
    """Run one arm in a fresh process with the case's threads.

    Raises:
        ArmError: the process failed.
    """
    return ArmResult(**run_apart("o3v.measure.worker", arm, case, {}))


def run_apart(module: str, arm: str, case: StepCase, settings: Mapping[str, str]) -> dict[str, Any]:
    """What `python -m MODULE ARM CASE.pkl RESULT.json` writes, in a fresh process with the case's threads.

    Args:
        module: with a `main` of these three arguments.
        arm: first argument.
        case: reaches the process by a pickle in a private temporary folder.
        settings: further environment variables.

    Raises:
        ArmError: the process failed; with the end of what it said.
    """
    with tempfile.TemporaryDirectory() as folder:
        given, result = Path(folder) / "case.pkl", Path(folder) / "result.json"
        given.write_bytes(pickle.dumps(case))
        threads = {name: str(case.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        done = subprocess.run(
            [sys.executable, "-m", module, arm, str(given), str(result)],
            env={**os.environ, **threads, **settings},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise ArmError(f"{module}, {case.label}: the arm {arm!r} failed:\n{done.stderr[-_SHOWN_CHARACTERS:]}")
        written: dict[str, Any] = json.loads(result.read_text())
        return written


def run_arm(arm: str, case: StepCase) -> ArmResult:
    """Measure one arm in this process: timed steps first, then the counted one, so that counting disturbs nothing."""
    import torch

    from o3v.measure.counters import counter
    from o3v.measure.model import frames_prompt, random_policy

    torch.set_num_threads(case.threads)
    keep_freed_memory()  # as trainer=cpu does; for every arm alike
    module = _load(arm)
    policy = random_policy(replace(case, spec=replace(case.spec, linear=_products(arm, case))))
    prompt = frames_prompt(policy, case.prompt, case.image_px, case.seed)
    before = _rates()
    base_mb, peaks_mb = reset_peak_memory(), []

    @contextmanager
    def timed() -> Iterator[Callable[[], Reading]]:
        with cpu_seconds() as read:
            yield read
        peaks_mb.append(peak_memory())

    meters = [Meter(timed) for _ in range(1 + case.steps)]
    counted = [Meter(counter(policy.model))] if case.count else []
    module.run(case, policy, prompt, [*meters, *counted])
    return ArmResult(
        arm=arm,
        first=meters[0].phases,
        later=[meter.phases for meter in meters[1:]],
        counts=counted[0].phases if counted else {},
        base_mb=base_mb,
        peak_mb=peaks_mb[-1] - base_mb,
        floor={name: asdict(work) for name, work in _floor(case, policy, prompt).items()},
        frames=len(prompt.clip.frames),
        patches=len(policy.encode([prompt]).pixel_values),
        gflops={name: max(rate, before[name]) for name, rate in _rates().items()},
        notes=list(module.NOTES),
    )


def _products(arm: str, case: StepCase) -> str:
    """Which library multiplies: the project's arms as configured, TRL as its users have it."""
    return "torch" if arm == "trl" else case.spec.linear


def _rates() -> dict[str, float]:
    from o3v.models.linear import onednn_product, torch_product

    return {"torch": product_rate(torch_product), "onednn": product_rate(onednn_product)}


def _floor(case: StepCase, policy: Policy, prompt: Prompt) -> Mapping[str, Work]:
    work = pass_work(policy.model.config, case.prompt, case.completion, len(prompt.clip.frames), case.image_px)
    return floor_work(work, case.group_size, bool(case.objective.kl_coef))


def _load(arm: str) -> Any:
    """The arm's module, with everything heavy that it uses, so that none of it counts as the step's memory."""
    if arm == "trl":
        importlib.import_module("trl.trainer.grpo_trainer")
    return importlib.import_module(f"o3v.measure.{arm}")


def main() -> None:
    """Entry point of the process."""
    arm, given, result = sys.argv[1:]
    case: StepCase = pickle.loads(Path(given).read_bytes())  # written by the parent process a moment ago
    Path(result).write_text(json.dumps(asdict(run_arm(arm, case))))


if __name__ == "__main__":
    main()
