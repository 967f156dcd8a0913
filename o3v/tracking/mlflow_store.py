"""One run in MLflow, and what MLflow asks of names, batches, tables and pictures.

Everything here can be done twice: points carry their time, pictures a name made of what they are, tables are sent
whole, and a run is found again by its token.
"""

from __future__ import annotations

import json
import math
import os
import re
import sqlite3
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from o3v.errors import StorageError

if TYPE_CHECKING:
    from mlflow import MlflowClient

MAX_METRICS, MAX_PARAMS = 1000, 100  # MLflow's limits of one log_batch
MAX_KEY, MAX_VALUE = 250, 6000  # and of a name and a text
TOKEN = "o3v_token"
THUMBNAIL_PX = 256
END = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}


def failures() -> tuple[type[Exception], ...]:
    """What MLflow and its storage raise when they cannot write; `requests` errors are `OSError`."""
    from mlflow.exceptions import MlflowException

    return (MlflowException, StorageError, OSError, sqlite3.Error)


def stored_name(key: str) -> str:
    """A key as MLflow takes it: letters, digits, `_`, `-`, `.`, `:`, `/` and spaces, everything else becomes `_`.

    One name that it does not take would make it refuse the whole batch. Longer than 250 characters is cut.

    >>> stored_name("eval/R1@tIoU=0.5"), stored_name("train/reward_by_task/temporal QA (MCQ)")
    ('eval/R1_tIoU_0.5', 'train/reward_by_task/temporal QA _MCQ_')
    """
    return re.sub(r"[^A-Za-z0-9_\-. :/]+", "_", key)[:MAX_KEY]


def batches(records: Iterable[tuple[int, Mapping[str, Any]]], size: int) -> Iterator[tuple[int, list[Any]]]:
    """Lines of metrics.jsonl as groups of at most `size` points, each with the byte up to which it is complete.

    A line with more points than `size` makes a group of its own.

    >>> lines = [(10, {"values": {"a": 1, "b": 2}}), (20, {"values": {"a": 3}}), (30, {"values": {"a": 4}})]
    >>> [(end, len(group)) for end, group in batches(lines, 3)]
    [(20, 2), (30, 1)]
    """
    group: list[Mapping[str, Any]] = []
    points = end = 0
    for next_end, record in records:
        if group and points + len(record["values"]) > size:
            yield end, group
            group, points = [], 0
        group.append(record)
        points += len(record["values"])
        end = next_end
    if group:
        yield end, group


def table_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as the JSON that MLflow's table view reads; a column that a row lacks is null there.

    >>> table_text([{"step": 0, "text": "a"}, {"step": 1, "score": 0.5}])
    '{"columns": ["step", "text", "score"], "data": [[0, "a", null], [1, null, 0.5]]}'
    """
    columns = list(dict.fromkeys(key for row in rows for key in row))
    data = [[_cell(row.get(column)) for column in columns] for row in rows]
    return json.dumps({"columns": columns, "data": data}, ensure_ascii=False)


def picture_names(file: str) -> tuple[str, str]:
    """Where the picture of a table's cell and its thumbnail lie among a run's artifacts.

    >>> picture_names("tables/completions/00000001_0_picture.png")
    ('table_images/completions/00000001_0_picture.png', 'table_images/completions/00000001_0_picture.webp')
    """
    name = f"table_images/{file.removeprefix('tables/')}"
    return name, f"{name.rpartition('.')[0]}.webp"


def _cell(value: Any) -> Any:
    if isinstance(value, Mapping) and value.get("type") == "picture":
        full, small = picture_names(value["file"])
        return {"type": "image", "filepath": full, "compressed_filepath": small}
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON in a browser has no NaN
    return value


class MlflowRun:
    """One run in MLflow, written with explicit ids: no global active run, `MLFLOW_RUN_ID` has no effect.

    Args:
        client: connected client.
        run_id: MLflow's id.
    """

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        self.run_id = run_id
        self._client = client

    def is_there(self) -> bool:
        """Whether the store has the run and it is not deleted; raises where the store cannot be asked."""
        from mlflow.exceptions import MlflowException

        try:
            return bool(self._client.get_run(self.run_id).info.lifecycle_stage == "active")
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return False
            raise

    def send_points(self, records: Sequence[Mapping[str, Any]]) -> int:
        """Sends lines of metrics.jsonl; returns the number of points. A point sent twice is stored once."""
        from mlflow.entities import Metric

        points = [
            Metric(stored_name(key), value, record["time_ms"], record["step"])
            for record in records
            for key, value in record["values"].items()
        ]
        for start in range(0, len(points), MAX_METRICS):
            self._client.log_batch(self.run_id, metrics=points[start : start + MAX_METRICS])
        return len(points)

    def log_params(self, values: Mapping[str, str]) -> None:
        """Logs parameters whose names the run does not have; long names and texts are cut to MLflow's limits."""
        from mlflow.entities import Param

        known = self._client.get_run(self.run_id).data.params
        named = {stored_name(key): value[:MAX_VALUE] for key, value in values.items()}
        new = [Param(key, value) for key, value in named.items() if key not in known]
        for start in range(0, len(new), MAX_PARAMS):
            self._client.log_batch(self.run_id, params=new[start : start + MAX_PARAMS])

    def set_tags(self, values: Mapping[str, str]) -> None:
        """Sets tags, replacing those of the same name."""
        from mlflow.entities import RunTag

        tags = [RunTag(stored_name(key), str(value)[:MAX_VALUE]) for key, value in values.items()]
        for start in range(0, len(tags), MAX_PARAMS):
            self._client.log_batch(self.run_id, tags=tags[start : start + MAX_PARAMS])

    def log_table(self, name: str, rows: Sequence[Mapping[str, Any]], pictures: Sequence[tuple[str, Path]]) -> None:
        """Replaces tables/<name>.json by these rows, after uploading pictures (name in a cell, file) of new rows."""
        for cell, path in pictures:
            self._log_picture(path, *picture_names(cell))
        path_there = f"tables/{name}.json"
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / f"{name}.json"
            path.write_text(table_text(rows), encoding="utf-8")
            self.log_artifact(path, "tables")
        listed = json.loads(self._client.get_run(self.run_id).data.tags.get("mlflow.loggedArtifacts", "[]"))
        entry = {"path": path_there, "type": "table"}
        if entry not in listed:
            self.set_tags({"mlflow.loggedArtifacts": json.dumps([*listed, entry])})

    def log_image(self, path: Path, key: str, step: int, time_ms: int) -> None:
        """Adds a picture to the series `key`, which the UI shows with a slider over steps.

        Its name is made of what it is, not of chance as `MlflowClient.log_image` does, so that twice is once.
        """
        unique = uuid.uuid5(uuid.NAMESPACE_URL, f"{self.run_id}/{key}/{step}/{time_ms}")
        name = f"images/{stored_name(key).replace('/', '~').replace(':', '_')}+step+{step}+timestamp+{time_ms}+{unique}"
        self._log_picture(path, f"{name}.png", f"{name}+compressed.webp")
        self.set_tags({"mlflow.loggedImages": "True"})

    def _log_picture(self, path: Path, full: str, small: str) -> None:
        from PIL import Image

        with tempfile.TemporaryDirectory() as scratch, Image.open(path) as image:
            image.save(Path(scratch) / Path(full).name)
            image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
            image.save(Path(scratch) / Path(small).name)
            self._client.log_artifacts(self.run_id, scratch, artifact_path=str(Path(full).parent))

    def log_artifact(self, path: Path, folder: str) -> None:
        """Copies a file to the run's artifacts."""
        self._client.log_artifact(self.run_id, str(path), artifact_path=folder or None)

    def set_status(self, status: str) -> None:
        """RUNNING again, or ended as FINISHED, FAILED or KILLED (interrupted: to be continued)."""
        if status in END:
            self._client.set_terminated(self.run_id, status=END[status])
        else:
            self._client.update_run(self.run_id, status=status)


def find_or_create(client: MlflowClient, experiment_id: str, name: str, token: str, tags: Mapping[str, str]) -> str:
    """Id of the run with this token; made where there is none.

    A server may die between making a run and answering: the next try finds it instead of making a second one.
    """
    found = client.search_runs([experiment_id], f"tags.{TOKEN} = '{token}'", max_results=1)
    if found:
        return str(found[0].info.run_id)
    created = client.create_run(experiment_id, run_name=name, tags={TOKEN: token, **tags})
    return str(created.info.run_id)
