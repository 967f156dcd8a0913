"""Runs a Lightning trainer over numbered batches, from wherever the run stands."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import RichProgressBar, TQDMProgressBar

from o3v.data.stream import BatchLoader
from o3v.errors import ConfigError
from o3v.stop import current_stop
from o3v.training.boundary import Boundary
from o3v.training.layouts import LAYOUTS, Layout, check_layout
from o3v.training.learner import PassSettings
from o3v.training.memory import keep_freed_memory
from o3v.training.module import GroundingModule
from o3v.training.profile import ProfileSettings
from o3v.training.state import find_state, is_sharded, read_place
from o3v.training.world import meet, step_tasks, world_size

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainerSettings:
    """How a stage runs (conf/trainer).

    Attributes:
        layout: how weights, gradients and optimizer lie in the processes, a key of `o3v.training.layouts.LAYOUTS`.
        keep_whole: with layout zero3, weights of at most so many numbers stay whole in every process.
        lightning: keyword arguments of `lightning.Trainer`.
        batches: length of the run; null derives it from `epochs`.
        epochs: passes over the data mix.
        prompts_per_device: prompts of a batch on each device.
        num_workers: loader processes; 0 reads in the training process.
        threads: CPU threads of torch; null leaves torch's choice.
        save_every: batches between saved states.
        show_every: batches between tables and pictures of completions.
        show_completions: rows of such a table.
        save_rollouts: append the completions of those batches to `rollouts.jsonl`, for `o3v.rescore`.
        prompt_pass: "kept" reads a prompt once for its completions and keeps the graph of that pass for training
            where a rollout has one update; "split" (what "kept" is elsewhere) and "mask" read it once again in every
            update, with split attention or the library's own under a mask; "dense" with every completion.
        attention_kernel: of "kept" and "split", see `PassSettings`.
        prompts_per_pass: prompts that go through the model together in training; null: all of an update's.
        old_logprobs: "rollout" or "recompute", see `PassSettings`.
        parity_prompts: prompts on which rollout and training are compared before an RL run, or its continuation,
            learns; 0 compares none.
        parity_tolerance: number type of the computation -> nats, see `o3v.training.parity.check_parity`.
        profile: steps whose timeline is written.
        peak_tflops: of one device, 1e12 operations a second, for `speed/mfu`; null takes it from the GPU's name.
    """

    layout: str
    keep_whole: int
    lightning: Mapping[str, Any]
    batches: int | None
    epochs: float
    prompts_per_device: int
    num_workers: int
    threads: int | None
    save_every: int
    show_every: int
    show_completions: int
    save_rollouts: bool
    prompt_pass: str
    attention_kernel: str
    prompts_per_pass: int | None
    old_logprobs: str
    parity_prompts: int
    parity_tolerance: Mapping[str, float]
    profile: ProfileSettings
    peak_tflops: float | None

    def __post_init__(self) -> None:
        check_layout(self.layout, self.prompt_pass, self.lightning)
        if self.peak_tflops is not None and self.peak_tflops <= 0:
            raise ConfigError(f"trainer.peak_tflops={self.peak_tflops} must be above 0, or null")
        if self.parity_prompts < 0:
            raise ConfigError(f"trainer.parity_prompts={self.parity_prompts} must be 0 (off) or more")
        for name, value in self.parity_tolerance.items():
            if value <= 0:
                raise ConfigError(f"trainer.parity_tolerance.{name}={value} must be above 0")

    def lay_out(self) -> Layout:
        """The layout itself."""
        return LAYOUTS[self.layout](self.keep_whole)

    def passes(self) -> PassSettings:
        """How prompts and completions go through the model; raises ConfigError for a value that is not allowed."""
        return PassSettings(self.prompt_pass, self.attention_kernel, self.prompts_per_pass, self.old_logprobs)

    @property
    def world_size(self) -> int:
        """Processes of the run, from devices and nodes."""
        return world_size(self.lightning)

    @property
    def global_batch(self) -> int:
        """Prompts of a batch over all processes."""
        return self.prompts_per_device * self.world_size

    @property
    def rank(self) -> int:
        """Number of this process among all, as torchrun, Lightning's own launcher or SLURM says."""
        if self.world_size == 1:
            return 0
        if "RANK" in os.environ:
            return int(os.environ["RANK"])
        if "LOCAL_RANK" in os.environ:  # Lightning's launcher sets no RANK
            devices = self.world_size // int(self.lightning.get("num_nodes", 1))
            return int(os.environ.get("NODE_RANK", "0")) * devices + int(os.environ["LOCAL_RANK"])
        return int(os.environ.get("SLURM_PROCID", "0"))

    def total_batches(self, samples_an_epoch: int) -> int:
        """Batches of the run: as configured, else whole epochs over the mix, at least one."""
        if self.batches is not None:
            return self.batches
        return max(1, round(self.epochs * samples_an_epoch / self.global_batch))


def fit(
    module: GroundingModule, loader: BatchLoader, settings: TrainerSettings, folder: Path, callbacks: Sequence[Callback]
) -> bool:
    """Train from the newest readable state in `folder`, or from the start.

    Nothing that a step computes depends on the global random state or on how often the run was interrupted, so a
    continued run ends with the weights of an undisturbed one.

    Returns:
        Whether there was anything left to do. If not, a module of which every process has all weights has those of
        the run's end; of others only its place in the run is restored.

    Raises:
        Interrupted: a signal asked to stop, see `o3v.stop`; the state of all batches done is saved.
        PeerError: another process of the run cannot go on.
    """
    _quiet_lightning()
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    if settings.lightning.get("accelerator") == "cpu":
        keep_freed_memory()
    state = find_state(folder)
    if state is not None:
        loader.go_on(_stream_state(state), _batches_done(state))
        log.info("continuing from %s, batch %d of %d", state, loader.start, len(loader))
    module.follow(loader.stream)
    boundary = Boundary(folder, settings.save_every, current_stop())
    meet(folder)
    callbacks = [*callbacks, boundary, *_progress_bar(settings)]
    trainer = make_trainer(module, settings.lightning, _environment(), callbacks)
    if not is_sharded(trainer.strategy):
        trainer.strategy.checkpoint_io = boundary.io
    if state is not None and loader.start == len(loader):
        _restore(trainer, module, state)
        return False
    trainer.fit(module, train_dataloaders=loader, ckpt_path=state, weights_only=True)
    boundary.check_finished(module, len(loader))
    return True


def make_trainer(
    module: GroundingModule, lightning: Mapping[str, Any], plugins: list[Any], callbacks: list[Callback]
) -> Trainer:
    """Lightning's trainer under the module's layout; batches, states and metrics are this project's own.

    Args:
        module: what it will train.
        lightning: other keywords of the trainer.
        plugins: how processes find each other, where that is not Lightning's own choice.
        callbacks: in the order in which they are called.
    """
    return Trainer(
        **{name: value for name, value in lightning.items() if name != "strategy"},
        strategy=module.strategy(lightning),
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        plugins=plugins,
        callbacks=callbacks,
    )


def _restore(trainer: Trainer, module: GroundingModule, state: Path) -> None:
    """The end of a run whose export is missing."""
    module.on_load_checkpoint({"o3v": read_place(state)})
    if not is_sharded(trainer.strategy):
        trainer.strategy.connect(module)
        module.load_state_dict(torch.load(state, map_location="cpu", weights_only=True)["state_dict"])


def _quiet_lightning() -> None:
    """Its banners and hints say nothing about this run; its warnings stay, but for four that are meant here."""
    for name in ("lightning.pytorch", "lightning.pytorch.utilities.rank_zero", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    eval_mode, torch_internal = r".*in eval mode at the start of training.*", r".*isinstance\(treespec, LeafSpec\).*"
    own_position = r".*your dataloader is not resumable.*"  # the loader starts at the right batch by itself
    no_srun = r".*`srun` command is available on your system but is not used.*"  # nor needed for one process
    for text in (eval_mode, torch_internal, own_position, no_srun):
        warnings.filterwarnings("ignore", text)


def _batches_done(state: Path) -> int:
    return int(read_place(state)["batches_done"])


def _stream_state(state: Path) -> dict[str, Any]:
    """How the batches of the run that wrote a state are cut; empty for states that do not say."""
    return dict(read_place(state).get("stream", {}))


def _environment() -> list[Any]:
    """Under SLURM: its processes without Lightning's own requeue, which would save and load beside the run's states."""
    from lightning.pytorch.plugins.environments import SLURMEnvironment

    return [SLURMEnvironment(auto_requeue=False)] if step_tasks() is not None else []


def _progress_bar(settings: TrainerSettings) -> list[Callback]:
    import sys

    if not settings.lightning.get("enable_progress_bar", True):
        return []
    return [RichProgressBar(leave=True)] if sys.stderr.isatty() else [TQDMProgressBar(refresh_rate=20)]
