"""Short fits over generated prompts without files, for tests of states and restarts."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path

from lightning import Callback

from o3v.data.difficulty import Difficulty
from o3v.data.mix import DataMix
from o3v.data.order import Grouping
from o3v.data.schedule import Schedule
from o3v.data.stream import BatchLoader, SampleStream
from o3v.objectives.sft import SFTObjective
from o3v.training.fit import TrainerSettings, fit
from o3v.training.module import GroundingModule, Optimization
from o3v.training.profile import ProfileSettings
from tests import tiny
from tests.training.steps import GSPO, learner_of, sample

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

OBJECTIVES = {
    "sft": SFTObjective("assistant"),
    "gspo": replace(GSPO, minibatches=2),
}
LIGHTNING = {"accelerator": "cpu", "devices": 1, "precision": "32-true", "enable_progress_bar": False}
SAMPLES = 5  # with 2 prompts a batch an epoch ends in the middle of a batch


class Stopped(Exception):
    """Stands for whatever ends a process."""


class StopAfter(Callback):
    """Ends training in the middle: after so many batches of the whole run."""

    def __init__(self, batches: int):
        self._batches = batches

    def on_train_batch_end(self, trainer, pl_module, *_):
        if pl_module.batches_done == self._batches:
            raise Stopped


class Recorder(Callback):
    """Keeps what each batch measured."""

    def __init__(self):
        self.metrics = {}
        self.samples = {}

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.metrics[pl_module.batches_done - 1] = dict(pl_module.step_metrics)
        self.samples[pl_module.batches_done - 1] = [example.sample.id for example in batch.examples]


def settings_of(**changes) -> TrainerSettings:
    """Settings of a short run, with some others."""
    values = {
        "layout": "ddp",
        "keep_whole": 0,
        "lightning": LIGHTNING,
        "batches": 7,
        "epochs": 1.0,
        "prompts_per_device": 2,
        "num_workers": 0,
        "threads": 1,
        "save_every": 2,
        "show_every": 100,
        "show_completions": 0,
        "save_rollouts": False,
        "prompt_pass": "kept",
        "attention_kernel": "split",
        "prompts_per_pass": None,
        "old_logprobs": "rollout",
        "parity_prompts": 0,
        "parity_tolerance": {},
        "profile": ProfileSettings((), False),
        "peak_tflops": None,
    }
    return TrainerSettings(**values | changes)


@dataclass
class Session:
    """One start of a run: everything is built anew, as by a new process."""

    folder: Path
    objective: str = "sft"
    family: str = "qwen2_5_vl"
    batches: int = 7
    save_every: int = 2
    num_workers: int = 0
    recorder: Recorder = field(default_factory=Recorder)

    def __post_init__(self):
        policy = tiny.random_policy(self.family, 1.5)
        samples = [sample(n) for n in range(SAMPLES)]
        order = DataMix({}, {}, Difficulty({"all": 1.0}, None)).order(samples, seed=0)
        stream = SampleStream(
            samples=samples,
            batches=Grouping(False, 0).batches(order, None, Schedule.even(2, self.batches)),
            prepare=lambda row: tiny.clip_prompt(policy, 2, int(row.id[1:])),
            rank=0,
            world_size=1,
        )
        optimization = Optimization(1e-3, [0.9, 0.98], 0.01, 1.0, "cosine", 0.2, 0.05)
        self.module = GroundingModule(learner_of(policy, OBJECTIVES[self.objective]), optimization, self.batches)
        self.loader = BatchLoader(stream, policy, self.num_workers)

    def fit(self, *callbacks: Callback) -> Session:
        settings = settings_of(batches=self.batches, num_workers=self.num_workers, save_every=self.save_every)
        fit(self.module, self.loader, settings, self.folder, [self.recorder, *callbacks])
        return self

    @property
    def weights(self):
        return {name: weight.clone() for name, weight in self.module.state_dict().items()}
