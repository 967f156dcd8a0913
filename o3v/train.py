"""Train one stage: `python -m o3v.train` (SFT) or `python -m o3v.train objective=gspo` (RL).

The same command started again continues an interrupted run and skips a finished one.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from o3v.cli import command

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from lightning import Callback
    from torch import Tensor

    from o3v.data.stream import SampleStream
    from o3v.models.policy import Encoded, Policy
    from o3v.runs import Run
    from o3v.training.fit import TrainerSettings
    from o3v.training.learner import Learner


@command(config_name="train")
def main(cfg: DictConfig) -> float | None:
    """Compose, build, run; returns the reward (RL) or loss (SFT) of the last batch."""
    result = run(cfg)
    return result.get("reward", result.get("loss"))


def run(cfg: DictConfig) -> dict[str, Any]:
    """The stage of a configuration: done now, continued, or its result if it is finished."""
    from o3v.config import build, resolve
    from o3v.runs import open_run

    build(cfg, "model").check(cfg.init_from)
    opened = open_run(cfg.name, resolve(cfg), build(cfg, "logger"), again=cfg.again)
    return opened.result if opened.result is not None else opened.complete(lambda: train(cfg, opened))


def train(cfg: DictConfig, run: Run) -> dict[str, Any]:
    """Read the data, load the model, fit, export; returns what the run ended with."""
    from o3v.config import build
    from o3v.data.faults import FaultLog
    from o3v.data.mix_report import MixCount
    from o3v.data.stream import BatchLoader
    from o3v.models.load import save_policy
    from o3v.replay.files import RolloutFile
    from o3v.training.fit import fit
    from o3v.training.learner import Learner
    from o3v.training.module import GroundingModule
    from o3v.training.report import Report

    objective, settings = build(cfg, "objective"), build(cfg, "trainer")
    for warning in objective.warnings(settings.prompts_per_device, cfg.rollout.group_size):
        log.warning(warning)
    rewards = build(cfg, "reward") if objective.needs_rollout else None
    sampling = build(cfg, "rollout") if objective.needs_rollout else None
    dataset = build(cfg, "data.dataset")
    samples = dataset.samples()
    faults = FaultLog(run.faults, cfg.data.dataset.max_fault_share, len(samples) + len(dataset.faults))
    for fault in dataset.faults:
        faults.record(fault)
    policy, reference = _load(cfg, objective)
    stream = _stream(cfg, samples, policy, settings)
    learner = Learner(
        policy,
        reference,
        objective,
        rewards,
        sampling,
        cfg.seed,
        settings.passes(),
    )
    module = GroundingModule(learner, build(cfg, "optim"), stream.schedule.batches)
    loader = BatchLoader(stream, policy, settings.num_workers)
    rollouts = RolloutFile(run.rollouts) if settings.save_rollouts else None
    counts = MixCount(loader)
    report = Report(run.tracker, faults, settings.show_every, settings.show_completions, rollouts, counts)
    trainer = fit(module, loader, settings, run.states, [*_guards(learner, settings), report])
    if trainer.is_global_zero:
        save_policy(policy, run.model)
    return {"model": str(run.model), "batches": module.batches_done, "cpu_s": run.cpu_s()} | report.summary()


def _load(cfg: DictConfig, objective: Any) -> tuple[Policy, Policy | None]:
    """The policy, and what it was before training where the objective has a KL term.

    With adapters that is the policy itself, scored with its adapter off; else a frozen copy.
    """
    from o3v.config import build
    from o3v.models.load import load_policy
    from o3v.models.lora import has_adapter

    spec = build(cfg, "model")
    policy = load_policy(spec, cfg.init_from)
    if not objective.needs_reference:
        return policy, None
    if has_adapter(policy):
        return policy, policy
    reference = load_policy(spec, cfg.init_from)
    reference.model.requires_grad_(False)
    return policy, reference


def _guards(learner: Learner, settings: TrainerSettings) -> list[Callback]:
    """Looks, before an RL run learns, whether rollout and training mean the same policy."""
    from o3v.training.parity import ParityGuard

    if not learner.objective.needs_rollout or settings.parity_prompts == 0:
        return []

    def score(policy: Policy, prompts: Encoded, ids: Tensor, mask: Tensor) -> Tensor:
        return replace(learner, policy=policy).scores(prompts, ids, mask).logprobs

    return [ParityGuard(learner, score, settings.parity_prompts, settings.parity_tolerance)]


def _stream(cfg: DictConfig, samples: list[Any], policy: Policy, settings: TrainerSettings) -> SampleStream:
    """The run's batches: the mix's order in groups, prepared for this model."""
    from o3v.config import build
    from o3v.data.lengths import sample_lengths
    from o3v.data.mix_report import mix_rows, mix_text
    from o3v.data.prepare import Preparer
    from o3v.data.schedule import Schedule
    from o3v.data.stream import SampleStream

    order, grouping = build(cfg, "data.mix").order(samples, cfg.seed), build(cfg, "data.grouping")
    log.info("the mix, an epoch:\n%s", mix_text(mix_rows(order)))
    prepare = Preparer(build(cfg, "data.reader"), policy.family)
    batch_size = settings.prompts_per_device * settings.world_size
    schedule = Schedule.even(batch_size, settings.total_batches(order.epoch_length))
    lengths = None
    if grouping.needs_lengths:
        lengths = sample_lengths(cfg.data.lengths_folder, samples, build(cfg, "data.reader"), policy.family.factor)
    return SampleStream(
        samples=samples,
        batches=grouping.batches(order, lengths, schedule),
        prepare=prepare,
        rank=settings.rank,
        world_size=settings.world_size,
    )


if __name__ == "__main__":
    main()
