"""Who is told what a run does: the `Tracker` protocol and its kinds.

`JsonlTracker` writes the run's journal and nothing else. `MlflowTracker` (mlflow_tracker.py) writes the same journal,
which a thread copies to MLflow. `Trackers` tells several, `NullTracker` nobody. None of them raises into training once
it has started: a failure is logged once.

The settings (`conf/logger/`) are what configuration instantiates; `start` makes the tracker of one run.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from o3v.errors import UserError
from o3v.tracking.journal import Journal
from o3v.tracking.run import RunFolder

if TYPE_CHECKING:
    from PIL.Image import Image

log = logging.getLogger(__name__)

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
        """Appends rows to the table `name`; each row gets a column `step`. A cell may be a PIL image."""

    def image(self, key: str, image: Image, step: int) -> None:
        """A picture of a series."""

    def artifact(self, path: Path, folder: str) -> None:
        """A file to keep with the run, below `folder` ("" is the top)."""

    def finish(self, status: Status) -> None:
        """Says how this life of the run ended, and closes; nothing may be told afterwards."""


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
    """

    def __init__(self, where: str, failures: tuple[type[Exception], ...]) -> None:
        self._where = where
        self._failures = failures
        self._warned = False

    def __enter__(self) -> Guard:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, self._failures):
            return False
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
    """`logger=jsonl`: files in the run's folder only.

    Attributes:
        tags: more tags of every run, for example study and arm; None for none.
    """

    tags: Mapping[str, str] | None

    def start(self, run_folder: RunFolder, name: str, config: Mapping[str, Any], tags: Mapping[str, str]) -> Tracker:
        """Opens the journal of the folder and writes parameters and tags. Raises StorageError."""
        tracker = JsonlTracker(run_folder)
        tracker.params(config)
        tracker.tags({"name": name, **tags, **(self.tags or {})})
        return tracker
