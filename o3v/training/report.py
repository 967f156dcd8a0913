"""Tells the tracker what each step measured: scalars, tables of completions, pictures of evidence, faults."""

from __future__ import annotations

import logging
import time
from typing import Any

from lightning import Callback, LightningModule, Trainer

from o3v.data.faults import Fault, FaultLog
from o3v.data.mix_report import MixCount, metric_name
from o3v.data.stream import Batch
from o3v.errors import UserError
from o3v.evidence.draw import evidence_picture
from o3v.evidence.table import completion_rows
from o3v.replay.answers import step_rollouts
from o3v.replay.files import RolloutFile
from o3v.sections import in_section
from o3v.tracking.tracker import Tracker
from o3v.training.module import GroundingModule
from o3v.training.rl_step import Experience

log = logging.getLogger(__name__)


class Report(Callback):
    """Logs every batch under its number in the whole run.

    Args:
        tracker: is told.
        faults: lists unreadable samples; stops the run when they are too many.
        every_batches: batches between tables and pictures of completions.
        completions: completions in such a table.
        rollouts: where the completions of those batches are kept too; None keeps none.
        counts: what has been given out by source and task; None counts nothing.
    """

    def __init__(
        self,
        tracker: Tracker,
        faults: FaultLog,
        every_batches: int,
        completions: int,
        rollouts: RolloutFile | None = None,
        counts: MixCount | None = None,
    ) -> None:
        self._tracker = tracker
        self._faults = faults
        self._every = every_batches
        self._completions = completions
        self._rollouts = rollouts
        self._counts = counts
        self._clock = (time.perf_counter(), time.process_time())
        self._last: dict[str, float] = {}

    def summary(self) -> dict[str, float]:
        """Loss and reward of the last batch that had them; empty for a run that had nothing left to do."""
        return {name: self._last[name] for name in ("loss", "reward") if name in self._last}

    def on_train_batch_start(self, *_: Any) -> None:
        """Starts the step's clocks."""
        self._clock = (time.perf_counter(), time.process_time())

    @in_section("logging")
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Logs the step; what stops this process is left to `Boundary`, for all processes to stop together."""
        assert isinstance(pl_module, GroundingModule)
        try:
            self._report(trainer, pl_module, batch)
        except UserError as error:
            pl_module.failure = error

    def _report(self, trainer: Trainer, pl_module: GroundingModule, batch: Batch) -> None:
        step = pl_module.batches_done - 1
        seen = len(batch.examples) + len(batch.faults)
        for sample, error in batch.faults:
            self._faults.record(Fault(sample.id, sample.source, "decode", str(error)))
        times = {
            "time/step_s": time.perf_counter() - self._clock[0],
            "time/step_cpu_s": time.process_time() - self._clock[1],
        }
        metrics = pl_module.step_metrics | times | {"faults": float(len(batch.faults)), "prompts": float(seen)}
        metrics |= {f"faults/{metric_name(source)}": float(count) for source, count in self._faults.by_source.items()}
        metrics |= self._counts.metrics(batch.index) if self._counts is not None and trainer.is_global_zero else {}
        self._last |= pl_module.step_metrics
        if step % self._every == 0:
            numbers = ", ".join(f"{k} {v:.3f}" for k, v in self.summary().items())
            log.info("batch %d of %d: %s", step + 1, trainer.num_training_batches, numbers)
        if trainer.is_global_zero:
            self._tracker.metrics({f"train/{name}": value for name, value in metrics.items()}, step)
            if pl_module.experience is not None and step % self._every == 0:
                self._show(pl_module.experience, step)
                self._save(pl_module.experience, step, (step + 1) / trainer.num_training_batches)

    def _show(self, experience: Experience, step: int) -> None:
        rows: list[dict[str, Any]] = []
        for b, example in enumerate(experience.examples):
            assert example.sample is not None
            rows += completion_rows(
                example.sample, experience.completions[b], experience.tables[b], experience.advantages[b].tolist()
            )
        self._tracker.table("completions", rows[: self._completions], step)
        example, best = experience.examples[0], experience.tables[0].totals.index(max(experience.tables[0].totals))
        assert example.sample is not None
        picture = evidence_picture(
            example.prompt.clip, experience.completions[0][best], example.sample.question, example.sample
        )
        self._tracker.image("evidence", picture, step)
        self._tracker.table("evidence", [{**rows[best], "picture": picture}], step)  # its frames beside its rewards

    def _save(self, experience: Experience, step: int, progress: float) -> None:
        if self._rollouts is None:
            return
        samples = [example.sample for example in experience.examples]
        pairs = [(s, done) for s, done in zip(samples, experience.completions, strict=True) if s is not None]
        self._rollouts.append(step, step_rollouts(step, pairs, progress))
