"""Who is told what a run does: the `Tracker` protocol and its kinds.

`JsonlTracker` writes the run's journal and nothing else. `MlflowTracker` writes the same journal and copies it to
MLflow in batches. `Trackers` tells several, `NullTracker` nobody. None of them raises into training once it has
started: a failure is logged once, and the journal keeps what could not be sent.

The settings (`conf/logger/`) are what configuration instantiates; `start` makes the tracker of one run.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from o3v.errors import ConfigError, UserError
from o3v.tracking.journal import Journal
from o3v.tracking.run import RunFolder

if TYPE_CHECKING:
    from PIL.Image import Image

    from o3v.tracking.mlflow_store import MlflowRun

log = logging.getLogger(__name__)

MAX_DOUBLINGS = 8

Status = Literal["finished", "failed", "interrupted"]
"""How a life of a run ended; an interrupted run is continued by starting the same command again."""


class Tracker(Protocol):
    """What training, evaluation and comparison tell about a run. Steps count from 0."""

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Numbers at a step; keys such as `train/reward/ans_acc`."""

    def params(self, values: Mapping[str, Any]) -> None:
        """Configuration, nested; stored flat as `a/b`. Told again, a known key keeps its first value."""

    def tags(self, values: Mapping[str, str]) -> None:
        """Short facts by which runs are found."""

    def table(self, name: str, rows: Sequence[Mapping[str, Any]], step: int) -> None:
        """Appends rows to the table `name`; each row gets a column `step`."""

    def image(self, key: str, image: Image, step: int) -> None:
        """A picture of a series."""

    def artifact(self, path: Path, folder: str) -> None:
        """A file to keep with the run, below `folder` ("" is the top)."""

    def finish(self, status: Status) -> None:
        """Sends what is still buffered and closes; nothing may be told afterwards."""


class TrackerSettings(Protocol):
    """What `conf/logger/*.yaml` instantiates."""

    def start(self, run_folder: RunFolder, name: str, config: Mapping[str, Any], tags: Mapping[str, str]) -> Tracker:
        """Starts a run, or continues the one that the folder holds."""


class NullTracker:
    """Tells nobody."""

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Nothing."""

    def params(self, values: Mapping[str, Any]) -> None:
        """Nothing."""

    def tags(self, values: Mapping[str, str]) -> None:
        """Nothing."""

    def table(self, name: str, rows: Sequence[Mapping[str, Any]], step: int) -> None:
        """Nothing."""

    def image(self, key: str, image: Image, step: int) -> None:
        """Nothing."""

    def artifact(self, path: Path, folder: str) -> None:
        """Nothing."""

    def finish(self, status: Status) -> None:
        """Nothing."""


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested configuration as flat text parameters; lists and scalars become text, an empty dict `{}`.

    >>> flatten({"model": {"lr": 0.1, "sizes": [1, 2]}, "seed": 0})
    {'model/lr': '0.1', 'model/sizes': '[1, 2]', 'seed': '0'}
    """
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{prefix}{key}/"))
        else:
            flat[f"{prefix}{key}"] = str(dict(value) if isinstance(value, Mapping) else value)
    return flat


class Guard:
    """Runs the calls of a tracker and turns their known failures into one warning, then debug lines.

    Args:
        where: what is being written, for the message.
        failures: the exceptions that mean "could not be written"; anything else is a bug and passes.

    Attributes:
        streak: failures since the last success.
    """

    def __init__(self, where: str, failures: tuple[type[Exception], ...]) -> None:
        self._where = where
        self._failures = failures
        self._warned = False
        self.streak = 0

    def __enter__(self) -> Guard:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        if error is None:
            self.streak = 0
        if not isinstance(error, self._failures):
            return False
        self.streak += 1
        level = logging.DEBUG if self._warned else logging.WARNING
        log.log(level, "%s could not be written, the run goes on without it: %s", self._where, error)
        self._warned = True
        return True


class JsonlTracker:
    """Writes the journal of the run's folder: metrics.jsonl, tables/, images/, params.json, tags.json.

    Files given to `artifact` stay where they are; status.json holds how the run ended.

    Raises:
        StorageError: the folder cannot be written, at construction only.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._journal = Journal(folder)
        self._guard = Guard(str(folder.path), (UserError, OSError))
        self._tags: dict[str, str] = {}

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Appends one line to metrics.jsonl."""
        with self._guard:
            self._journal.add_metrics(values, step)

    def params(self, values: Mapping[str, Any]) -> None:
        """Writes params.json, flat."""
        with self._guard:
            self._folder.write_json("params.json", flatten(values))

    def tags(self, values: Mapping[str, str]) -> None:
        """Adds to tags.json."""
        self._tags.update(values)
        with self._guard:
            self._folder.write_json("tags.json", self._tags)

    def table(self, name: str, rows: Sequence[Mapping[str, Any]], step: int) -> None:
        """Appends to tables/<name>.jsonl."""
        with self._guard:
            self._journal.add_table(name, rows, step)

    def image(self, key: str, image: Image, step: int) -> None:
        """Writes images/<key>_<step>.png."""
        with self._guard:
            self._journal.add_image(key, image, step)

    def artifact(self, path: Path, folder: str) -> None:
        """Leaves the file where it is: it lies on the same disk."""

    def finish(self, status: Status) -> None:
        """Writes status.json."""
        with self._guard:
            self._folder.write_json("status.json", {"status": status})


class MlflowTracker:
    """Writes the journal, and copies it to an MLflow run: metrics in batches, the rest as it comes.

    What could not be sent stays in metrics.jsonl and is tried again with a later batch (each failure in a row doubles
    the wait, so that a server that is gone does not hold up every step), and at `finish`.

    Args:
        journal: the record on disk; also says what an earlier life of the run had told already.
        run: the MLflow run.
        flush_every_steps: metrics are sent when the step has moved on by so many since the last time.
    """

    def __init__(self, journal: Journal, run: MlflowRun, flush_every_steps: int) -> None:
        self._journal = journal
        self._run = run
        self._every = flush_every_steps
        self._flushed_step = -1
        self._disk = Guard(str(journal.metrics_path.parent), (UserError, OSError))
        self._remote = Guard(run.where, run.failures())

    @property
    def run_id(self) -> str:
        """MLflow's id of the run, for the tag `mlflow.parentRunId` of its children."""
        return self._run.run_id

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Appends to metrics.jsonl; every `flush_every_steps` steps sends what is new."""
        with self._disk:
            self._journal.add_metrics(values, step)
        if step - self._flushed_step >= self._every * 2 ** min(self._remote.streak, MAX_DOUBLINGS):
            self._flushed_step = step
            self.flush()

    def flush(self) -> None:
        """Sends the lines of metrics.jsonl that were not sent yet."""
        with self._remote:
            self._run.send_metrics(self._journal.metrics_path)

    def params(self, values: Mapping[str, Any]) -> None:
        """Logs parameters that the run does not have yet (MLflow's parameters cannot change)."""
        with self._remote:
            self._run.log_params(flatten(values))

    def tags(self, values: Mapping[str, str]) -> None:
        """Sets tags."""
        with self._remote:
            self._run.set_tags(values)

    def table(self, name: str, rows: Sequence[Mapping[str, Any]], step: int) -> None:
        """Appends to the local table and to the artifact tables/<name>.json."""
        new = False
        with self._disk:
            new = self._journal.add_table(name, rows, step)
        if new and rows:
            with self._remote:
                self._run.log_table(name, [{"step": step, **row} for row in rows])

    def image(self, key: str, image: Image, step: int) -> None:
        """Saves the picture and adds it to the series `key` of the run."""
        saved = None
        with self._disk:
            saved = self._journal.add_image(key, image, step)
        if saved is not None:
            with self._remote:
                self._run.log_image(key, image, step)

    def artifact(self, path: Path, folder: str) -> None:
        """Uploads a file."""
        with self._remote:
            self._run.log_artifact(path, folder)

    def finish(self, status: Status) -> None:
        """Sends what is left and closes the MLflow run as FINISHED, FAILED or KILLED."""
        self.flush()
        with self._remote:
            self._run.close(status)


@dataclass(frozen=True)
class Trackers:
    """Tells every member, in order."""

    members: tuple[Tracker, ...]

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """To every member."""
        for member in self.members:
            member.metrics(values, step)

    def params(self, values: Mapping[str, Any]) -> None:
        """To every member."""
        for member in self.members:
            member.params(values)

    def tags(self, values: Mapping[str, str]) -> None:
        """To every member."""
        for member in self.members:
            member.tags(values)

    def table(self, name: str, rows: Sequence[Mapping[str, Any]], step: int) -> None:
        """To every member."""
        for member in self.members:
            member.table(name, rows, step)

    def image(self, key: str, image: Image, step: int) -> None:
        """To every member."""
        for member in self.members:
            member.image(key, image, step)

    def artifact(self, path: Path, folder: str) -> None:
        """To every member."""
        for member in self.members:
            member.artifact(path, folder)

    def finish(self, status: Status) -> None:
        """To every member."""
        for member in self.members:
            member.finish(status)


@dataclass(frozen=True)
class NullSettings:
    """`logger=none`."""

    def start(self, run_folder: RunFolder, name: str, config: Mapping[str, Any], tags: Mapping[str, str]) -> Tracker:
        """A tracker that tells nobody."""
        return NullTracker()


@dataclass(frozen=True)
class JsonlSettings:
    """`logger=jsonl`: files in the run's folder only."""

    def start(self, run_folder: RunFolder, name: str, config: Mapping[str, Any], tags: Mapping[str, str]) -> Tracker:
        """Opens the journal of the folder and writes parameters and tags. Raises StorageError."""
        tracker = JsonlTracker(run_folder)
        tracker.params(config)
        tracker.tags({"name": name, **tags})
        return tracker


@dataclass(frozen=True)
class MlflowSettings:
    """`logger=mlflow`.

    Attributes:
        tracking_uri: `sqlite:///<file>`, `http(s)://...` or a SQL address that MLflow accepts.
        experiment: name of the experiment; made when absent.
        artifact_location: folder or address of new experiments' artifacts; null is `<database>.artifacts` beside an
            sqlite file, and the server's own choice otherwise. It is fixed when the experiment is made.
        flush_every_steps: send metrics when the step has moved on by so many; at least 1.

    Raises:
        ConfigError: a `file:` store, which MLflow 3 refuses, or a flush interval below 1.
    """

    tracking_uri: str
    experiment: str
    artifact_location: str | None
    flush_every_steps: int

    def __post_init__(self) -> None:
        if "://" not in self.tracking_uri or self.tracking_uri.startswith("file:"):
            raise ConfigError(
                f"logger.tracking_uri={self.tracking_uri!r}: MLflow 3 has no file store; "
                "allowed are sqlite:///<file>, http(s)://<server> and SQL addresses"
            )
        if self.flush_every_steps < 1:
            raise ConfigError(f"logger.flush_every_steps={self.flush_every_steps}: must be at least 1")

    def start(self, run_folder: RunFolder, name: str, config: Mapping[str, Any], tags: Mapping[str, str]) -> Tracker:
        """Starts an MLflow run, or continues the one whose id the folder holds.

        Where MLflow cannot be reached the run goes on with the journal alone, after one warning.

        Args:
            run_folder: the run's folder; StorageError where it cannot be written.
            name: the run's name in the UI.
            config: resolved configuration, logged as parameters.
            tags: for example seed and experiment; `mlflow.parentRunId` makes it a child.
        """
        from o3v.tracking.mlflow_store import failures, open_run

        journal = Journal(run_folder)
        with Guard(self.tracking_uri, failures()):
            run = open_run(self, run_folder, name, tags)
            tracker = MlflowTracker(journal, run, self.flush_every_steps)
            tracker.params(config)
            return tracker
        return JsonlSettings().start(run_folder, name, config, tags)
