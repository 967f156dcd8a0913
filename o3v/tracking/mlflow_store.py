"""The MLflow side of a run: making the database once, opening or continuing a run, sending.

Measured with mlflow 3.17: several processes that open a fresh sqlite file together all fail and leave it half made.
So the schema is made under a file lock, in a file of another name that takes its place only when it is whole.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from o3v.errors import StorageError
from o3v.tracking.journal import read_lines
from o3v.tracking.run import RunFolder, storage

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from PIL.Image import Image

    from o3v.tracking.tracker import MlflowSettings, Status

log = logging.getLogger(__name__)

SQLITE = "sqlite:///"
STATE = "mlflow.json"
MAX_METRICS, MAX_PARAMS = 1000, 100  # MLflow's limits of one log_batch
MAX_KEY, MAX_VALUE = 250, 6000  # and of a parameter's name and text
END = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}


def failures() -> tuple[type[Exception], ...]:
    """What MLflow and its storage raise when they cannot write; `requests` errors are `OSError`."""
    from mlflow.exceptions import MlflowException

    return (MlflowException, StorageError, OSError, sqlite3.Error)


def stored_name(key: str) -> str:
    """A key as MLflow takes it: letters, digits, `_`, `-`, `.`, `:`, `/` and spaces, everything else becomes `_`.

    One name that it does not take would make it refuse the whole batch.

    >>> stored_name("eval/R1@tIoU=0.5"), stored_name("train/reward_by_task/temporal QA (MCQ)")
    ('eval/R1_tIoU_0.5', 'train/reward_by_task/temporal QA _MCQ_')
    """
    return re.sub(r"[^A-Za-z0-9_\-. :/]+", "_", key)


def database_path(tracking_uri: str) -> Path | None:
    """The file of an sqlite address, absolute; None for any other address.

    >>> database_path("sqlite:////data/mlflow.db")
    PosixPath('/data/mlflow.db')
    >>> database_path("http://127.0.0.1:5000") is None
    True
    """
    return Path(tracking_uri.removeprefix(SQLITE)).absolute() if tracking_uri.startswith(SQLITE) else None


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Holds an exclusive lock on `path` (made where absent); other processes wait. Released when a process dies."""
    with storage(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = path.open("a")
    with handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def connect(settings: MlflowSettings) -> tuple[MlflowClient, str]:
    """Client and id of the experiment; makes database and experiment where they are absent.

    Safe to call from several processes at once on a database that does not exist yet.
    """
    from mlflow import MlflowClient

    database = database_path(settings.tracking_uri)
    if database is None:
        # a training step must not wait minutes for a server that is gone (MLflow's own default: 7 tries, 120 s each)
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        client = MlflowClient(tracking_uri=settings.tracking_uri)
        return client, _experiment(client, settings.experiment, settings.artifact_location)
    with file_lock(database.with_name(database.name + ".lock")):
        _make_database(database)
        client = MlflowClient(tracking_uri=f"{SQLITE}{database}")
        location = settings.artifact_location or database.with_name(f"{database.stem}.artifacts").as_uri()
        return client, _experiment(client, settings.experiment, location)


def _make_database(database: Path) -> None:
    if database.exists() and database.stat().st_size > 0:
        return
    from mlflow import MlflowClient

    for chatty in ("alembic", "mlflow.store.db.utils"):  # a line for each of the schema's versions
        logging.getLogger(chatty).setLevel(logging.WARNING)

    unfinished = database.with_name(f".{database.name}.new")
    unfinished.unlink(missing_ok=True)  # of a process that died here
    MlflowClient(tracking_uri=f"{SQLITE}{unfinished}").search_experiments()  # the first call makes the schema
    os.replace(unfinished, database)
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA journal_mode=WAL")  # readers (the UI) and one writer no longer block each other
    connection.close()


def _experiment(client: MlflowClient, name: str, location: str | None) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=location))
        except MlflowException:  # on a server another process may have made it since
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    return str(found.experiment_id)


def open_run(settings: MlflowSettings, folder: RunFolder, name: str, tags: Mapping[str, str]) -> MlflowRun:
    """The MLflow run whose id the folder holds, set to running again; a new one where there is none.

    A run that the store no longer has (another database, deleted) is made anew and all metrics are sent to it.
    """
    from mlflow.exceptions import MlflowException

    client, experiment_id = connect(settings)
    state = folder.read_json(STATE) or {}
    if state.get("tracking_uri") == settings.tracking_uri:
        try:
            client.update_run(state["run_id"], status="RUNNING")
            run = MlflowRun(client, state["run_id"], folder, settings.tracking_uri)
            run.set_tags(tags)
            return run
        except MlflowException as error:
            log.warning("MLflow run %s cannot be continued (%s); a new one is started", state["run_id"], error)
    created = client.create_run(experiment_id, run_name=name, tags=dict(tags))
    run = MlflowRun(client, created.info.run_id, folder, settings.tracking_uri)
    run.save_sent(0)
    return run


class MlflowRun:
    """One run in MLflow, written with explicit ids: no global active run, `MLFLOW_RUN_ID` has no effect.

    Args:
        client: connected client.
        run_id: MLflow's id.
        folder: holds mlflow.json: run id, address, and up to which byte metrics.jsonl was sent.
        where: the tracking address, for messages.
    """

    def __init__(self, client: MlflowClient, run_id: str, folder: RunFolder, where: str) -> None:
        self.run_id = run_id
        self.where = where
        self._client = client
        self._folder = folder
        self._sent = int((folder.read_json(STATE) or {}).get("sent_bytes", 0))

    def failures(self) -> tuple[type[Exception], ...]:
        """See `failures`."""
        return failures()

    def save_sent(self, end_byte: int) -> None:
        """Notes up to which byte metrics.jsonl was sent."""
        self._sent = end_byte
        state = {"run_id": self.run_id, "tracking_uri": self.where, "sent_bytes": end_byte}
        self._folder.write_json(STATE, state)

    def send_metrics(self, path: Path) -> None:
        """Sends the lines after the last sent one. A line sent twice is stored once: its time is part of it."""
        from mlflow.entities import Metric

        batch: list[Metric] = []
        end = self._sent
        for next_end, record in read_lines(path, start_byte=self._sent):
            metrics = [
                Metric(stored_name(k), v, record["time_ms"], record["step"]) for k, v in record["values"].items()
            ]
            if len(batch) + len(metrics) > MAX_METRICS:
                self._send(batch, end)
                batch = []
            batch += metrics
            end = next_end
        self._send(batch, end)

    def _send(self, batch: list[Any], end_byte: int) -> None:
        for start in range(0, len(batch), MAX_METRICS):
            self._client.log_batch(self.run_id, metrics=batch[start : start + MAX_METRICS])
        if batch:
            self.save_sent(end_byte)

    def log_params(self, values: Mapping[str, str]) -> None:
        """Logs parameters whose names the run does not have; long names and texts are cut to MLflow's limits."""
        from mlflow.entities import Param

        known = self._client.get_run(self.run_id).data.params
        named = {stored_name(key)[:MAX_KEY]: value[:MAX_VALUE] for key, value in values.items()}
        new = [Param(key, value) for key, value in named.items() if key not in known]
        for start in range(0, len(new), MAX_PARAMS):
            self._client.log_batch(self.run_id, params=new[start : start + MAX_PARAMS])

    def set_tags(self, values: Mapping[str, str]) -> None:
        """Sets tags, replacing those of the same name."""
        from mlflow.entities import RunTag

        if values:
            self._client.log_batch(self.run_id, tags=[RunTag(key, str(value)) for key, value in values.items()])

    def log_table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Appends rows to tables/<name>.json; a column that a row lacks is empty there."""
        columns = list(dict.fromkeys(key for row in rows for key in row))
        data = {column: [row.get(column) for row in rows] for column in columns}
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # each append would draw one
        self._client.log_table(self.run_id, data=data, artifact_file=f"tables/{name}.json")

    def log_image(self, key: str, image: Image, step: int) -> None:
        """Adds a picture to the series `key`, which the UI shows with a slider over steps."""
        self._client.log_image(self.run_id, image=image, key=key, step=step)

    def log_artifact(self, path: Path, folder: str) -> None:
        """Copies a file to the run's artifacts."""
        self._client.log_artifact(self.run_id, str(path), artifact_path=folder or None)

    def close(self, status: Status) -> None:
        """Ends the run as FINISHED, FAILED or KILLED (interrupted: to be continued)."""
        self._client.set_terminated(self.run_id, status=END[status])
