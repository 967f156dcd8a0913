"""`logger=mlflow`: the run's folder first, MLflow from there by a thread of its own."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from o3v.errors import UserError
from o3v.tracking.delivery import STATE, Delivery, address
from o3v.tracking.journal import Journal
from o3v.tracking.mlflow_database import Store
from o3v.tracking.mlflow_store import failures
from o3v.tracking.outbox import Outbox
from o3v.tracking.run import RunFolder
from o3v.tracking.sender import Pace, Sender
from o3v.tracking.tracker import Guard, Status, Tracker, flatten

if TYPE_CHECKING:
    from PIL.Image import Image

log = logging.getLogger(__name__)

PARENT = "mlflow.parentRunId"


class MlflowTracker:
    """Writes the journal and the outbox of a run's folder; a sender brings them to MLflow.

    No call waits for MLflow but `finish`, whose wait is bounded. What is left then is sent by the next start of the
    run, or by `python -m o3v.sync folder=...`.

    Args:
        folder: of the run; mlflow.json says where it is sent.
        pace: when to send and how long to wait.
        where: the address, for messages.
    """

    def __init__(self, folder: RunFolder, pace: Pace, where: str) -> None:
        self._folder = folder
        self._journal = Journal(folder)
        self._outbox = Outbox(folder)
        self._pace = pace
        self._where = where
        self._disk = Guard(str(folder.path), (UserError, OSError))
        delivery = Delivery(folder, pace.tables_every_s)
        self._sender = Sender(delivery.round, delivery.close, failures(), pace, where)
        with self._disk:
            self._outbox.status("RUNNING")
        self._sender.start()

    @property
    def run_id(self) -> str | None:
        """MLflow's id of the run; None before the first contact."""
        state = self._folder.read_json(STATE) or {}
        return state.get("run_id")

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Appends to metrics.jsonl."""
        with self._disk:
            self._journal.add_metrics(values, step)

    def params(self, values: Mapping[str, Any]) -> None:
        """Parameters that the run does not have yet (MLflow's parameters cannot change)."""
        with self._disk:
            self._outbox.params(flatten(values))

    def tags(self, values: Mapping[str, str]) -> None:
        """Sets tags."""
        with self._disk:
            self._outbox.tags(values)

    def table(self, name: str, rows: Sequence[Mapping[str, Any]], step: int) -> None:
        """Appends to tables/<name>.jsonl, of which MLflow gets tables/<name>.json."""
        with self._disk:
            self._journal.add_table(name, rows, step)

    def image(self, key: str, image: Image, step: int) -> None:
        """Saves the picture and adds it to the series `key` of the run."""
        with self._disk:
            saved = self._journal.add_image(key, image, step)
            if saved is not None:
                self._outbox.image(saved, key, step)

    def artifact(self, path: Path, folder: str) -> None:
        """A file, as it stands when it is sent."""
        with self._disk:
            self._outbox.artifact(path, folder)

    def finish(self, status: Status) -> None:
        """Waits a bounded time until everything is sent and the MLflow run is FINISHED, FAILED or KILLED."""
        with self._disk:
            self._folder.write_json("status.json", {"status": status})
            self._outbox.status(status)
        wait_s = self._pace.interrupt_wait_s if status == "interrupted" else self._pace.finish_wait_s
        if not self._sender.finish(wait_s):
            log.warning(
                "%s did not take everything within %g s; the rest: python -m o3v.sync folder=%s",
                self._where,
                wait_s,
                self._folder.path,
            )


@dataclass(frozen=True)
class MlflowSettings:
    """`logger=mlflow`.

    Attributes:
        tracking_uri: `sqlite:///<file>`, `http(s)://...` or a SQL address that MLflow accepts.
        experiment: name of the experiment; made when absent.
        artifact_location: folder or address of new experiments' artifacts; null is `<database>.artifacts` beside an
            sqlite file, and the server's own choice otherwise. It is fixed when the experiment is made.
        parent: id of the MLflow run below which this one is shown; null for none.
        tags: more tags of every run, for example study, arm and seed; null for none.
        pace: when to send, and how long to wait for a server that is away.

    Raises:
        ConfigError: a `file:` store, which MLflow 3 refuses.
    """

    tracking_uri: str
    experiment: str
    artifact_location: str | None
    parent: str | None
    tags: Mapping[str, str] | None
    pace: Pace

    def __post_init__(self) -> None:
        _ = self.store

    @property
    def store(self) -> Store:
        """Where MLflow keeps the runs."""
        return Store(self.tracking_uri, self.experiment, self.artifact_location)

    def start(self, run_folder: RunFolder, name: str, config: Mapping[str, Any], tags: Mapping[str, str]) -> Tracker:
        """Starts an MLflow run, or continues the one whose id the folder holds; returns before MLflow knows of it.

        Args:
            run_folder: the run's folder; StorageError where it cannot be written.
            name: of the folder, kept as the tag `run`; in the UI a run of a study has its arm and seed before it.
            config: resolved configuration, logged as parameters.
            tags: for example signature and git commit.
        """
        _import_mlflow()
        run_folder.create()
        told = {**tags, **(self.tags or {}), "run": name}
        address(run_folder, self.store, run_name(name, told))
        tracker = MlflowTracker(run_folder, self.pace, self.tracking_uri)
        tracker.tags(told if self.parent is None else {**told, PARENT: self.parent})
        tracker.params(config)
        return tracker


def run_name(name: str, tags: Mapping[str, str]) -> str:
    """Name of a run in the UI: arm and seed first where it belongs to a study, so that lists sort by arm.

    >>> run_name("rl-1f2e3d4c", {"arm": "o3", "seed": "0"}), run_name("rl-1f2e3d4c", {"seed": "0"})
    ('o3 seed 0 rl-1f2e3d4c', 'rl-1f2e3d4c')
    """
    return f"{tags['arm']} seed {tags.get('seed', '-')} {name}" if "arm" in tags else name


def _import_mlflow() -> None:
    """In the calling thread: two threads that import at the same time can see half-made modules of one another."""
    import mlflow.entities
    import mlflow.store.artifact.artifact_repository_registry
    import mlflow.store.tracking.rest_store
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401

    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
