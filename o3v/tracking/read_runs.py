"""Reading finished runs back out of MLflow, into folders of the shape that runs write themselves."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from o3v.errors import ServiceError
from o3v.tracking.journal import METRICS
from o3v.tracking.mlflow_database import connect
from o3v.tracking.mlflow_store import failures
from o3v.tracking.run import RunFolder, storage, write_atomically
from o3v.tracking.study_runs import read_study_runs

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from o3v.tracking.mlflow_tracker import MlflowSettings

log = logging.getLogger(__name__)

ARTIFACTS = ("records.jsonl", "report.json", "config.yaml")
STATUS = {"FAILED": "failed", "KILLED": "interrupted", "RUNNING": "running", "SCHEDULED": "running"}
_PAGE = 1000


def fetch_runs(settings: MlflowSettings, keys: Sequence[str], into: Path, patterns: Sequence[str]) -> dict[str, Path]:
    """Copies runs out of MLflow: answers, report, configuration, status, and the history of some metrics.

    A run is found by its tag `run`, the name of its folder. Of several with the same one (started afresh)
    the finished one counts, else the newest. What an earlier call has copied of a finished run is kept.

    Args:
        settings: the store.
        keys: names of the runs' folders.
        into: a folder for the copies.
        patterns: of metrics, as MLflow stores their names.

    Returns:
        Key -> folder, for every key; the folder of a run that MLflow does not have does not exist.

    Raises:
        ServiceError: MLflow cannot be reached.
        StorageError: `into` cannot be written.
    """
    try:
        client, experiment_id = connect(settings.store)
        found = _find(client, experiment_id, keys)
        for key in keys:
            _copy(client, found.get(key), into / key, patterns)
    except failures() as error:
        raise ServiceError(f"logger.tracking_uri={settings.tracking_uri}: cannot be read ({error})") from error
    return {key: into / key for key in keys}


def log_to_study(settings: MlflowSettings, study: RunFolder, paths: Sequence[Path], folder: str) -> bool:
    """Copies files to the artifacts of a study's run, whose id the study's folder holds; says whether it did.

    A study that was not submitted with MLflow has no such run; a store that cannot be reached is one warning.
    """
    runs = read_study_runs(study)
    if runs is None:
        return False
    try:
        client, _ = connect(settings.store)
        for path in paths:
            client.log_artifact(runs.study_id, str(path), artifact_path=folder)
    except failures() as error:
        log.warning("%s: the comparison is not in MLflow: %s", settings.tracking_uri, error)
        return False
    return True


def _find(client: MlflowClient, experiment_id: str, keys: Sequence[str]) -> dict[str, Any]:
    """Key -> MLflow's run, pages of runs read until all are seen."""
    wanted, token = set(keys), None
    found: dict[str, Any] = {}
    while True:
        page = client.search_runs(
            [experiment_id], max_results=_PAGE, order_by=["attributes.start_time ASC"], page_token=token
        )
        for run in page:
            name = run.data.tags.get("run", run.info.run_name)
            if name in wanted and not (name in found and found[name].info.status == "FINISHED"):
                found[name] = run
        token = page.token
        if not token:
            return found


def _copy(client: MlflowClient, run: Any, folder: Path, patterns: Sequence[str]) -> None:
    """One run; a folder that says DONE already holds all of a finished one but other metrics."""
    if run is None:
        with storage(folder):
            shutil.rmtree(folder, ignore_errors=True)
        return
    files = RunFolder(folder)
    run_id, is_finished = run.info.run_id, run.info.status == "FINISHED"
    files.create()
    if (files.read_json("mlflow.json") or {}).get("run_id") != run_id or files.done() is None:
        there = {item.path for item in client.list_artifacts(run_id)}
        for name in ARTIFACTS:
            (folder / name).unlink(missing_ok=True)
            if name in there:
                client.download_artifacts(run_id, name, str(folder))
        files.write_json("mlflow.json", {"run_id": run_id})
    write_atomically(folder / METRICS, _history(client, run, patterns))
    if is_finished:
        files.mark_done(_result(run.data.metrics))
    else:
        (folder / "DONE.json").unlink(missing_ok=True)
        files.write_json("status.json", {"status": STATUS.get(run.info.status, "running")})


def _result(metrics: Mapping[str, float]) -> dict[str, float]:
    """What the run ended with, as far as MLflow knows."""
    return {key.removeprefix("final/"): value for key, value in metrics.items() if key.startswith("final/")}


def _history(client: MlflowClient, run: Any, patterns: Sequence[str]) -> str:
    """Lines of metrics.jsonl of the metrics that fit a pattern."""
    steps: dict[int, dict[str, float]] = {}
    times: dict[int, int] = {}
    for name in run.data.metrics:
        if any(fnmatchcase(name, pattern) for pattern in patterns):
            for point in client.get_metric_history(run.info.run_id, name):
                steps.setdefault(point.step, {})[name] = point.value
                times[point.step] = point.timestamp
    lines = (
        json.dumps({"step": step, "time_ms": times[step], "values": values}) for step, values in sorted(steps.items())
    )
    return "".join(f"{line}\n" for line in lines)
