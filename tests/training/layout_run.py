"""What tests of layouts start in processes of their own: a short fit whose processes see quite different prompts.

`python -m tests.training.layout_run JOB.json`, with `layout`, `processes`, `objective`, `batches` (lists of kinds of
prompts, over all processes) and `out`, a file for the weights. With `counts` the collectives inside of rollouts are
counted, with `forgets` no weights are gathered for them.
"""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.distributed.tensor.debug import CommDebugMode

from o3v.data.schedule import Schedule
from o3v.data.stream import BatchLoader, Example, Read
from o3v.errors import MediaError
from o3v.objectives.sft import SFTObjective
from o3v.training.fit import fit
from o3v.training.module import GroundingModule, Optimization
from tests import tiny
from tests.training.runs import LIGHTNING, Recorder, settings_of
from tests.training.steps import GSPO, PASSES, LengthReward, learner_of, sample

OPTIMIZATION = Optimization(1e-4, [0.9, 0.98], 0.01, 1.0, "constant", 0.0, 1.0)


def prompt_of(policy, kind: str, seed: int):
    """A prompt with text only, a still image, a clip of images, or a native video."""
    if kind == "image":
        return tiny.still_prompt(policy, seed)
    clip = tiny.clip_prompt(policy, 2 + seed % 3, seed)
    if kind == "clip":
        return clip
    parts = ("When is it seen?",) if kind == "text" else (tuple(range(len(clip.clip.frames))), "When is it seen?")
    return replace(clip, parts=parts)


@dataclass(frozen=True)
class KindStream:
    """Batches of named kinds; "gone" cannot be read. Each process takes a consecutive part."""

    policy: object
    kinds: list[list[str]]
    rank: int
    world_size: int

    @property
    def schedule(self):
        return Schedule.even(len(self.kinds[0]), len(self.kinds))

    def number(self, index):
        return index * self.world_size + self.rank

    def read(self, index):
        part = len(self.kinds[index]) // self.world_size
        examples, positions, faults = [], [], []
        for place in range(self.rank * part, (self.rank + 1) * part):
            kind, position = self.kinds[index][place], index * len(self.kinds[index]) + place
            row = sample(position)
            if kind == "gone":
                faults.append((row, MediaError(Path(kind), "gone")))
                continue
            positions.append(position)
            row = replace(row, id=f"{kind}-{position}")
            examples.append(Example(row, prompt_of(self.policy, kind, position)))
        return Read(tuple(examples), tuple(positions), tuple(faults))

    def state(self):
        return {}

    def continued(self, state, batch):
        return self


class KindReward(LengthReward):
    """Groups of text prompts teach nothing, so processes have different numbers of passes."""

    def __call__(self, completions, row, progress):
        self.flat = (row.id,) if row.id.startswith("text") else ()
        return super().__call__(completions, row, progress)


class Counting:
    """A layout that counts the collectives inside of its rollouts."""

    def __init__(self, layout, forgets: bool):
        self.layout, self.forgets, self.counts = layout, forgets, []

    def __getattr__(self, name):
        return getattr(self.layout, name)

    @contextmanager
    def gathered(self, module):
        with nullcontext() if self.forgets else self.layout.gathered(module), CommDebugMode() as seen:
            yield
        self.counts.append(seen.get_total_counts())


def main() -> None:
    """Fit, and write the weights down."""
    job = json.loads(Path(sys.argv[1]).read_text())
    policy = tiny.random_policy(job.get("family", "qwen2_5_vl"), 1.5)
    policy.model.to(getattr(torch, job.get("dtype", "float32")))
    for block in () if job.get("tower", True) else [policy.model.model.visual]:
        block.requires_grad_(False)
    rl = job["objective"] == "gspo"
    passes = replace(PASSES, way="split", prompts_per_pass=1, old_logprobs=job.get("old_logprobs", "rollout"))
    objective = replace(GSPO, updates_per_rollout=2) if rl else SFTObjective("assistant")
    learner = learner_of(policy, objective, passes=passes, rewards=KindReward())
    lightning = LIGHTNING | {"devices": job["processes"]}
    settings = settings_of(
        layout=job["layout"],
        lightning=lightning,
        batches=len(job["batches"]),
        prompts_per_device=len(job["batches"][0]) // job["processes"],
        prompt_pass="split",
        save_every=100,
    )
    stream = KindStream(policy, job["batches"], settings.rank, settings.world_size)
    layout = Counting(settings.lay_out(), job.get("forgets", False)) if job.get("counts") else settings.lay_out()
    module = GroundingModule(learner, OPTIMIZATION, len(job["batches"]), layout)
    recorder = Recorder()
    fit(module, BatchLoader(stream, policy, 0), settings, Path(job["states"]), [recorder])
    state = layout.state(module)
    if settings.rank == 0:
        weights = dict(policy.model.state_dict() if state is None else state)
        weights = {name: value.detach().clone().contiguous() for name, value in weights.items()}
        save_file(weights, job["out"])
        torch.save(recorder.metrics, job["out"] + ".metrics")
        Path(job["out"] + ".counts").write_text(json.dumps(getattr(layout, "counts", [])))


if __name__ == "__main__":
    main()
