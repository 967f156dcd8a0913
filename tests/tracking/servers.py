"""A true `mlflow server` on loopback, and what it holds."""

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from o3v.tracking.mlflow_database import make_database
from o3v.tracking.mlflow_tracker import MlflowSettings
from o3v.tracking.sender import Pace

QUICK = Pace(0.05, 0.1, 0.05, 0.2, 60.0, 60.0)


IMPATIENT = Pace(0.05, 0.1, 0.05, 0.2, 0.3, 0.0)


def settings_for(uri, pace=QUICK, parent=None, tags=None, experiment="exp"):
    return MlflowSettings(uri, experiment, None, parent, tags, pace)


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@dataclass
class Server:
    """A server that can be killed and started again at the same address with the same database.

    It is asked through `mlflow.MlflowClient(uri)`, or when it is away through its database.
    """

    folder: Path
    port: int
    process: subprocess.Popen | None = None

    @property
    def uri(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def database(self):
        return f"sqlite:///{self.folder}/mlflow.db"

    def start(self):
        """Starts the server if it is away, and waits until it answers."""
        if self.process is not None:
            return self
        make_database(self.folder / "mlflow.db")
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", "1", "--backend-store-uri", self.database, "--serve-artifacts"]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with (self.folder / "server.log").open("a") as log:
            self.process = subprocess.Popen(
                command, env=environment, stdout=log, stderr=log, cwd=self.folder, start_new_session=True
            )
        until = time.monotonic() + 120
        while not self.is_up():
            assert self.process.poll() is None and time.monotonic() < until, (self.folder / "server.log").read_text()
            time.sleep(0.1)
        return self

    def is_up(self):
        try:
            with urlopen(f"{self.uri}/health", timeout=2) as answer:
                return answer.status == 200
        except (URLError, OSError):
            return False

    def kill(self):
        """SIGKILL to the server and its workers at once."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def client(self):
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=self.database)


def history(client, run_id, key):
    """(step, value) of every stored point, in the order in which the store gives them."""
    return [(point.step, point.value) for point in client.get_metric_history(run_id, key)]


def assert_once_in_order(client, run_id, key, expected):
    """Every point exactly once and, by time, in order; the proof that a mutant must not pass."""
    stored = client.get_metric_history(run_id, key)
    by_time = [(point.step, point.value) for point in sorted(stored, key=lambda point: (point.timestamp, point.step))]
    assert by_time == list(expected)


def only_run(client, name="exp"):
    """The one run of an experiment."""
    experiment = client.get_experiment_by_name(name)
    (run,) = client.search_runs([experiment.experiment_id])
    return run


def wait_until(condition, timeout_s, what):
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until, what
        time.sleep(0.02)
