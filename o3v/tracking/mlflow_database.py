"""Where MLflow keeps runs: making the database and the experiment once, whoever comes first.

Measured with mlflow 3.17: several processes that open a fresh sqlite file together all fail and leave it half made.
So the schema is made under a file lock, in a file of another name that takes its place only when it is whole.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from o3v.errors import ConfigError
from o3v.tracking.run import storage

if TYPE_CHECKING:
    from mlflow import MlflowClient

SQLITE = "sqlite:///"


@dataclass(frozen=True)
class Store:
    """An address of MLflow.

    Attributes:
        tracking_uri: `sqlite:///<file>`, `http(s)://...` or a SQL address that MLflow accepts.
        experiment: name of the experiment; made when absent.
        artifact_location: of a new experiment; None is `<database>.artifacts` beside an sqlite file, and the server's
            own choice otherwise.

    Raises:
        ConfigError: a `file:` store, which MLflow 3 refuses.
    """

    tracking_uri: str
    experiment: str
    artifact_location: str | None

    def __post_init__(self) -> None:
        if "://" not in self.tracking_uri or self.tracking_uri.startswith("file:"):
            raise ConfigError(
                f"logger.tracking_uri={self.tracking_uri!r}: MLflow 3 has no file store; "
                "allowed are sqlite:///<file>, http(s)://<server> and SQL addresses"
            )


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


def connect(store: Store) -> tuple[MlflowClient, str]:
    """Client and id of the experiment; makes database and experiment where they are absent.

    Safe to call from several processes at once on a database that does not exist yet.
    """
    from mlflow import MlflowClient

    database = database_path(store.tracking_uri)
    if database is None:
        # the sender has waits of its own (MLflow's default: 7 tries, 120 s each, and no word meanwhile)
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        client = MlflowClient(tracking_uri=store.tracking_uri)
        return client, _experiment(client, store.experiment, store.artifact_location)
    with file_lock(database.with_name(database.name + ".lock")):
        make_database(database)
        client = MlflowClient(tracking_uri=f"{SQLITE}{database}")
        location = store.artifact_location or database.with_name(f"{database.stem}.artifacts").as_uri()
        return client, _experiment(client, store.experiment, location)


def make_database(database: Path) -> None:
    """Makes an sqlite file with MLflow's schema in WAL mode, where there is none yet; the caller holds the lock."""
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
