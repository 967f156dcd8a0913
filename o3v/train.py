"""Train one stage: `python -m o3v.train` (SFT) or `python -m o3v.train objective=gspo` (RL).

The same command started again continues an interrupted run and skips a finished one. SIGTERM and SIGUSR2 save the
state at the end of the step, see `o3v.stop`.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from o3v.cli import command
from o3v.errors import ConfigError, UserError

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from lightning import Callback
    from torch import Tensor

    from o3v.data.faults import FaultLog
    from o3v.data.mix import MixOrder
    from o3v.data.order import Grouping
    from o3v.data.prepare import Preparer
    from o3v.data.stream import SampleStream
    from o3v.models.policy import Encoded, Policy
    from o3v.rollout.draw import Sampling
    from o3v.rollout.engines import RolloutEngine
    from o3v.runs import Run
    from o3v.training.fit import TrainerSettings
    from o3v.training.learner import Learner


@command(config_name="train", stoppable=True)
def main(cfg: DictConfig) -> float | None:
    """Compose, build, run; returns the reward (RL) or loss (SFT) of the last batch."""
    result = run(cfg)
    return result.get("reward", result.get("loss"))


def run(cfg: DictConfig) -> dict[str, Any]:
    """The stage of a configuration: done now, continued, or its result if it is finished."""
    from o3v.config import build
    from o3v.runs import open_run
    from o3v.training.world import check_tasks

    check_tasks(cfg.trainer.lightning)
    if "dataset" not in cfg.data:
        raise ConfigError(
            "data.dataset is missing: data=NAME of a benchmark says how its media are read, and has no rows"
        )
    build(cfg, "model").check(cfg.init_from)
    opened = open_run(cfg.name, identity_of(cfg), build(cfg, "logger"), again=cfg.again)
    return opened.result if opened.result is not None else opened.complete(lambda: train(cfg, opened))


def identity_of(cfg: DictConfig) -> dict[str, Any]:
    """The resolved configuration that names the run, with the batch over all processes; imports nothing heavy."""
    from o3v.config import resolve
    from o3v.training.world import world_size

    plain = resolve(cfg)
    trainer = plain["trainer"]
    if plain.get("engine") is None:  # the policy draws its completions itself: nothing that a name should tell
        plain.pop("engine", None)
    return plain | {"global_batch": trainer["prompts_per_device"] * world_size(trainer["lightning"])}


def train(cfg: DictConfig, run: Run) -> dict[str, Any]:
    """Read the data, load the model, fit, export; returns what the run ended with."""
    from o3v.config import build
    from o3v.data.mix_report import MixCount
    from o3v.data.prepare import Preparer
    from o3v.data.stream import BatchLoader
    from o3v.reading import clip_reader, store_metrics
    from o3v.replay.files import RolloutFile
    from o3v.training.boundary import TellProgress
    from o3v.training.fit import fit
    from o3v.training.layouts import COPIES
    from o3v.training.learner import Learner
    from o3v.training.module import GroundingModule
    from o3v.training.profile import open_profile
    from o3v.training.report import Report
    from o3v.training.rounding import rounding_warnings
    from o3v.training.store_report import StoreReport

    objective, settings = build(cfg, "objective"), build(cfg, "trainer")
    for warning in (
        *objective.warnings(settings.prompts_per_device, cfg.rollout.group_size),
        *rounding_warnings(settings.layout, cfg.model.dtype, cfg.model.lora.rank > 0, cfg.optim.lr),
    ):
        log.warning(warning)
    rewards = build(cfg, "reward") if objective.needs_rollout else None
    sampling, engine = _drawing(cfg, objective, settings, run)
    samples, faults = _samples(cfg, run)
    order, grouping = _order(cfg, samples), build(cfg, "data.grouping")
    settings.profile.check(settings.total_batches(order.epoch_length))
    policy, reference = _load(cfg, objective)
    reader = clip_reader(cfg)
    stream = _stream(cfg, grouping, order, samples, Preparer(reader, policy.family), settings)
    learner = Learner(
        policy,
        reference,
        objective,
        rewards,
        sampling,
        cfg.seed,
        settings.passes(),
        engine,
    )
    layout = settings.lay_out()
    module = GroundingModule(learner, build(cfg, "optim"), stream.schedule.batches, layout)
    profile = open_profile(settings.profile, settings.rank, run.tracker, run.folder, learner)
    loader = BatchLoader(stream, policy, settings.num_workers, profile)
    rollouts = RolloutFile(run.rollouts) if settings.save_rollouts else None
    counts = MixCount(loader)
    report = Report(run.tracker, faults, settings.show_every, settings.show_completions, rollouts, counts)
    store = StoreReport(run.tracker, lambda: store_metrics(reader))
    others = [TellProgress(run.folder.path), *([] if profile is None else [profile])]
    trained = fit(module, loader, settings, run.states, [*_measures(learner, settings), report, store, *others])
    state = layout.state(module) if trained else None
    if settings.rank == 0:
        _export(cfg, run, policy, state, is_stale=layout is not COPIES and not trained)
    return (
        {"model": str(run.model), "batches": module.batches_done, "cpu_s": run.cpu_s()}
        | report.summary()
        | store.counts()
    )


def _export(cfg: DictConfig, run: Run, policy: Policy, state: Mapping[str, Tensor] | None, is_stale: bool) -> None:
    """Write the model of the run's end, with its card.

    Args:
        cfg: of the run.
        run: whose model.
        policy: with these weights, but for the following two.
        state: weights that were put together from several processes.
        is_stale: the policy has not got the weights of the run's end, which are in its last state only.
    """
    from o3v.config import resolve
    from o3v.models.load import save_policy
    from o3v.models.weights import save_gathered
    from o3v.training.exporting import export_state

    if is_stale:
        export_state(run.folder.path, run.model)
        return
    sampling, texts = resolve(cfg)["rollout"], _card(run)
    if state is None:
        save_policy(policy, run.model, sampling, texts)
    else:
        save_gathered(policy, state, run.model, sampling, texts)


def _card(run: Run) -> dict[str, str]:
    """The model's card and what goes with it; none where it cannot be written, for no run is lost for its card."""
    from o3v.training.export_card import final_files

    try:
        return final_files(run.folder.path)
    except UserError as error:
        log.warning("the model gets no card (%s); python -m o3v.export writes one", error)
        return {}


def _drawing(
    cfg: DictConfig, objective: Any, settings: TrainerSettings, run: Run
) -> tuple[Sampling | None, RolloutEngine | None]:
    """How completions are drawn, and what draws them outside of training; None where the policy does, or nobody."""
    from o3v.config import build
    from o3v.training.layouts import check_sharded, drawing_under

    if not objective.needs_rollout:
        check_sharded(settings.layout, cfg.model.quantization, None)
        return None, None
    sampling, chosen = drawing_under(settings.layout, build(cfg, "rollout")), build(cfg, "engine")
    check_sharded(settings.layout, cfg.model.quantization, chosen)
    if chosen is None:
        return sampling, None
    chosen.check(sampling, settings.old_logprobs)
    place: Path = run.folder.path
    return sampling, chosen.open(place / "engine", place.name, settings.rank)


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


def _measures(learner: Learner, settings: TrainerSettings) -> list[Callback]:
    """What adds to a step's metrics before they are reported; the first looks whether rollout and training agree."""
    from o3v.training.parity import ParityGuard
    from o3v.training.speed import Speed

    speed = Speed(learner, settings.peak_tflops)
    if not learner.objective.needs_rollout or settings.parity_prompts == 0:
        return [speed]

    def score(policy: Policy, prompts: Encoded, ids: Tensor, mask: Tensor) -> Tensor:
        """As training scores."""
        return replace(learner, policy=policy).scores(prompts, ids, mask).logprobs

    return [ParityGuard(learner, score, settings.parity_prompts, settings.parity_tolerance), speed]


def _samples(cfg: DictConfig, run: Run) -> tuple[list[Any], FaultLog]:
    """The rows that can be read, and a list of the others."""
    from o3v.config import build
    from o3v.data.faults import FaultLog

    dataset = build(cfg, "data.dataset")
    samples = dataset.samples()
    faults = FaultLog(run.faults, cfg.data.dataset.max_fault_share, len(samples) + len(dataset.faults))
    for fault in dataset.faults:
        faults.record(fault)
    return samples, faults


def _order(cfg: DictConfig, samples: list[Any]) -> MixOrder:
    """The mix's order; mistakes in it are told before a model is loaded."""
    from o3v.config import build
    from o3v.data.mix_report import mix_rows, mix_text

    order: MixOrder = build(cfg, "data.mix").order(samples, cfg.seed)
    log.info("the mix, an epoch:\n%s", mix_text(mix_rows(order)))
    return order


def _stream(
    cfg: DictConfig,
    grouping: Grouping,
    order: MixOrder,
    samples: list[Any],
    prepare: Preparer,
    settings: TrainerSettings,
) -> SampleStream:
    """The run's batches: the mix's order in groups, prepared for this model."""
    from o3v.config import build
    from o3v.data.lengths import sample_lengths
    from o3v.data.schedule import Schedule
    from o3v.data.stream import SampleStream

    schedule = Schedule.even(settings.global_batch, settings.total_batches(order.epoch_length))
    lengths = None
    if grouping.needs_lengths:
        lengths = sample_lengths(cfg.data.lengths_folder, samples, build(cfg, "data.reader"), prepare.family.factor)
    return SampleStream(
        samples=samples,
        batches=grouping.batches(order, lengths, schedule),
        prepare=prepare,
        rank=settings.rank,
        world_size=settings.world_size,
    )


if __name__ == "__main__":
    main()
