"""A step's timeline: `trainer.profile.batches=[3]` writes where the time of batch 3 went, see docs/profiling.md."""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning import Callback, LightningModule, Trainer

from o3v.data.stream import Batch
from o3v.errors import ConfigError
from o3v.models.policy import Policy
from o3v.sections import Recorder, Span, recording, section
from o3v.tracking.run import RunFolder, write_atomically
from o3v.tracking.tracker import Tracker
from o3v.training.profile_picture import section_picture
from o3v.training.timeline import STEP, SectionRow, section_rows, trace

if TYPE_CHECKING:
    from o3v.training.learner import Learner

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ProfileSettings:
    """Which steps are recorded (conf/trainer, `profile`).

    Attributes:
        batches: their numbers, counted from 0 as in MLflow; none: nothing is recorded.
        kernels: torch's own profiler records them too, kernel by kernel.
    """

    batches: Sequence[int]
    kernels: bool

    def __post_init__(self) -> None:
        wrong = [batch for batch in self.batches if isinstance(batch, bool) or not isinstance(batch, int) or batch < 0]
        if wrong:
            raise ConfigError(f"trainer.profile.batches={list(self.batches)}: {wrong[0]!r} is no number of a batch")

    def check(self, total_batches: int) -> None:
        """Raises ConfigError for a batch that the run does not have."""
        late = [batch for batch in self.batches if batch >= total_batches]
        if late:
            raise ConfigError(
                f"trainer.profile.batches={list(self.batches)}: the run has {total_batches} batches, "
                f"0 to {total_batches - 1}"
            )


class Profile(Callback):
    """Records chosen steps in the process that owns it, and tells the tracker.

    A step lasts from asking for its batch to asking for the next, so that waiting for data, logging and saving are in
    it; the loader says when (`o3v.data.stream.Watch`).

    Args:
        settings: which steps.
        tracker: is told.
        folder: of the run; a batch's files go to `profile/batch_N`.
        models: the policy, and the reference where there is one: their vision towers are sections of their own.
    """

    def __init__(
        self, settings: ProfileSettings, tracker: Tracker, folder: RunFolder, models: Sequence[Policy]
    ) -> None:
        self.batches = frozenset(settings.batches)
        self._kernels = settings.kernels
        self._tracker = tracker
        self._folder = folder
        self._models = models
        self._open = ExitStack()
        self._recorder: Recorder | None = None
        self._batch = -1
        self._workers: tuple[Span, ...] = ()

    def asked(self, index: int) -> None:
        """The loader is asked for a batch: the step before has ended."""
        self._close()
        if index in self.batches:
            self._begin(index)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Notes what a loader worker did for the batch."""
        if self._recorder is not None:
            self._workers = batch.spans

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The last step has ended."""
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """A step that was not completed is not told."""
        self._recorder = None
        self._open.close()

    def _begin(self, index: int) -> None:
        on_gpu = self._models[0].device.type == "cuda"
        mark = torch.profiler.record_function if self._kernels else None
        self._recorder = Recorder(torch.cuda.synchronize if on_gpu else None, mark)
        self._batch, self._workers = index, ()
        if self._kernels:
            self._open.enter_context(_kernels(self._file("kernels.json.gz"), on_gpu))
        for policy in self._models:
            self._open.enter_context(_vision_sections(policy.model.model.visual))
        self._open.enter_context(recording(self._recorder))
        self._open.enter_context(section(STEP))

    def _close(self) -> None:
        if self._recorder is None:
            return
        self._open.close()
        spans, self._recorder = self._recorder.spans, None
        rows, about = section_rows(spans), self._about()
        listed = [row.as_json() for row in rows]
        found = {"batch": self._batch, "step_s": spans[-1].end_s - spans[-1].start_s, "about": about}
        tracks = {"first process": spans} | ({"a loader worker": self._workers} if self._workers else {})
        workers = [row.as_json() for row in section_rows(self._workers)]
        self._folder.write_json(self._name("sections.json"), found | {"sections": listed, "loader_worker": workers})
        write_atomically(self._file("trace.json"), trace(tracks, about))
        write_atomically(self._file("sections.svg"), self._picture(rows, about))
        for path in sorted(self._file("").iterdir()):
            self._tracker.artifact(path, f"profile/batch_{self._batch}")
        self._tracker.table("profile", listed, self._batch)
        log.info("profile of batch %d, %s: %s", self._batch, _most(rows), self._file(""))

    def _name(self, name: str) -> str:
        return f"profile/batch_{self._batch}/{name}"

    def _file(self, name: str) -> Path:
        path = self._folder.path / self._name(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _about(self) -> dict[str, Any]:
        device = self._models[0].device
        name = (
            torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} thread(s)"
        )
        machine = {"device": name, "cores": os.cpu_count(), "python": platform.python_version()}
        return machine | {"torch": torch.__version__, "kernels_traced": self._kernels}

    def _picture(self, rows: Sequence[SectionRow], about: dict[str, Any]) -> str:
        title = f"Batch {self._batch}: {rows[0].total_s:.3f} s"
        told = f"{about['device']}, torch {about['torch']}; dark: a section's own time, light: sections inside it"
        return section_picture(title, told + ("; kernels traced, so all is slower" if self._kernels else ""), rows)


def open_profile(
    settings: ProfileSettings, rank: int, tracker: Tracker, folder: RunFolder, learner: Learner
) -> Profile | None:
    """What records steps of a run, in its first process; None where nobody wants to know."""
    if rank or not settings.batches:
        return None
    policy, reference = learner.policy, learner.reference
    models = [policy] if reference is None or reference is policy else [policy, reference]
    return Profile(settings, tracker, folder, models)


def _most(rows: Sequence[SectionRow]) -> str:
    """The three longest, for the log."""
    longest = sorted(rows, key=lambda row: -row.own_s)[:3]
    return ", ".join(f"{row.as_json()['section']} {100 * row.share:.0f} %" for row in longest)


@contextmanager
def _vision_sections(tower: Any) -> Iterator[None]:
    """Every call of the vision tower is a section; nothing hangs on the tower while no step is recorded."""
    calls = ExitStack()

    def before(*_: Any) -> None:
        calls.enter_context(section("vision"))

    def after(*_: Any) -> None:
        calls.close()

    handles = [tower.register_forward_pre_hook(before), tower.register_forward_hook(after, always_call=True)]
    try:
        yield
    finally:
        calls.close()
        for handle in handles:
            handle.remove()


@contextmanager
def _kernels(path: Path, on_gpu: bool) -> Iterator[None]:
    """Torch's profiler around the block; its trace is written with gzip, which Perfetto reads."""
    kinds = [torch.profiler.ProfilerActivity.CPU, *([torch.profiler.ProfilerActivity.CUDA] if on_gpu else [])]
    with torch.profiler.profile(activities=kinds) as profiler:
        yield
    profiler.export_chrome_trace(str(path))
