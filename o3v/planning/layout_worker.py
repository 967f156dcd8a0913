"""One process of a planned step under a layout: `python -m o3v.planning.layout_worker KIND CASE.pkl RESULT.json`.

The step is training's own, under Lightning, over gloo. A small model goes through a forward and backward pass first, so
that most code is loaded before anything counts; what Lightning, the engine and gloo load and keep counts as the step's.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning import Callback, Trainer
from lightning.pytorch.plugins.environments import LightningEnvironment
from torch.utils.data import DataLoader

from o3v.data.stream import Batch, Example
from o3v.measure.case import StepCase
from o3v.measure.clock import peak_memory, reset_peak_memory
from o3v.planning.together import LayoutCase
from o3v.planning.worker import Held, small_case
from o3v.training.fit import make_trainer
from o3v.training.layouts import LAYOUTS
from o3v.training.learner import Learner, PassSettings
from o3v.training.module import GroundingModule, Optimization
from o3v.types import KeyFrame, RewardTable, Sample, Task

if TYPE_CHECKING:
    from o3v.models.policy import Policy

_FIRST_ID = 300


class Watch(Callback):
    """Forgets what loading has taken, and notes the highest memory of the steps after it."""

    def __init__(self) -> None:
        self.peak_mib = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Policy and reference are spread."""
        reset_peak_memory()

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """All steps are done."""
        self.peak_mib = peak_memory()


def uneven_rewards(completions: Sequence[Any], row: Sample, progress: float) -> RewardTable:
    """Rewards that differ in every group: the number of a completion."""
    totals = tuple(float(number) for number in range(len(completions)))
    return RewardTable(("number",), tuple((v,) for v in totals), (True,), totals, {"number": totals}, (1.0,))


def run_step(kind: str, case: LayoutCase) -> Held:
    """Run `1 + steps` steps of this process' part; memory is above that of a process without a model."""
    import torch

    from o3v.measure.model import frames_prompt, random_policy

    step = case.step
    torch.set_num_threads(step.threads)
    _warm_up(case.layout, small_case(step))
    base = reset_peak_memory()
    policy = random_policy(step)
    batch = _batch(step, policy, frames_prompt(policy, step.prompt, step.image_px, step.seed), kind)
    assert batch.encoded is not None
    patches = len(batch.encoded.pixel_values) // len(batch.examples)
    frames = len(batch.examples[0].prompt.clip.frames)
    watch = Watch()
    _fit(kind, case, policy, [replace(batch, index=n, number=n) for n in range(1 + step.steps)], watch)
    return Held(base, watch.peak_mib - base, frames, patches)


def _fit(kind: str, case: LayoutCase, policy: Policy, batches: list[Batch], watch: Watch) -> None:
    step = case.step
    layout = LAYOUTS[case.layout](case.keep_whole)
    module = GroundingModule(_learner(kind, step, policy), _optimization(step), len(batches), layout)
    lightning = {"accelerator": "cpu", "devices": case.processes, "num_nodes": 1, "enable_progress_bar": False}
    trainer = make_trainer(module, lightning, [LightningEnvironment()], [watch])
    trainer.fit(module, DataLoader(batches, batch_size=None))  # type: ignore[arg-type]  # a list is a dataset


def _learner(kind: str, step: StepCase, policy: Policy) -> Learner:
    from o3v.measure.model import random_policy
    from o3v.objectives.sft import SFTObjective

    way = PassSettings("split" if kind == "rl" else "kept", "split", None, "rollout")
    if kind == "sft":
        return Learner(policy, None, SFTObjective("assistant"), None, None, step.seed, way)
    reference = None
    if step.objective.kl_coef:
        reference = random_policy(step)
        reference.model.requires_grad_(False)
    return Learner(policy, reference, step.objective, uneven_rewards, step.sampling, step.seed, way)


def _batch(step: StepCase, policy: Policy, prompt: Any, kind: str) -> Batch:
    import torch

    rows = step.micro_batch if kind == "sft" else 1
    generator = torch.Generator().manual_seed(step.seed)
    ids = torch.randint(_FIRST_ID, step.vocab_size // 2, (rows, step.completion), generator=generator)
    examples = tuple(Example(_sample(number), prompt) for number in range(rows))
    return Batch(0, 0, examples, policy.encode([prompt] * rows), ids, torch.ones_like(ids).bool(), ())


def _sample(number: int) -> Sample:
    keys = (KeyFrame(1.0, {"thing": ((0.0, 0.0, 0.5, 0.5),)}, None),)
    task = Task.TEMPORAL_SPATIAL
    return Sample(f"s{number}", "bench", task, "?", "thing", "", None, None, keys, None, None, None)


def _warm_up(layout: str, step: StepCase) -> None:
    """Loads what a pass loads, and DeepSpeed's 120 MiB of code."""
    if layout.startswith("zero"):
        import deepspeed.runtime.zero.stage3
        import deepspeed.runtime.zero.stage_1_and_2  # noqa: F401
    from o3v.measure.model import frames_prompt, random_policy

    policy = random_policy(step)
    learner = _learner("sft", step, policy)
    batch = _batch(step, policy, frames_prompt(policy, step.prompt, step.image_px, 0), "sft")
    assert batch.encoded is not None and batch.target_ids is not None and batch.target_mask is not None
    learner.scores(batch.encoded, batch.target_ids, batch.target_mask).logprobs.sum().backward()
    _optimization(step).build(policy.model).step()


def _optimization(step: StepCase) -> Optimization:
    return Optimization(step.lr, (0.9, 0.999), 0.0, 1.0, "constant", 0.0, 1.0)


def main() -> None:
    """Entry point of each process; the first one writes the result."""
    kind, given, result = sys.argv[1:]
    case: LayoutCase = pickle.loads(Path(given).read_bytes())  # written by the parent process a moment ago
    held = run_step(kind, case)
    if os.environ["LOCAL_RANK"] == "0":
        Path(result).write_text(json.dumps(asdict(held)))


if __name__ == "__main__":
    main()
