"""A database of MLflow, made once."""

import shutil
import sqlite3

import pytest

from o3v.tracking.mlflow_database import make_database


@pytest.fixture(scope="session")
def made_database(tmp_path_factory):
    """An empty database: making its schema takes seconds."""
    path = tmp_path_factory.mktemp("database") / "mlflow.db"
    make_database(path)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


@pytest.fixture
def database(made_database, tmp_path):
    """A fresh copy; its address is `sqlite:///<this>`."""
    path = tmp_path / "store" / "mlflow.db"
    path.parent.mkdir()
    shutil.copy(made_database, path)
    return path
