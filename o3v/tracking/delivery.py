"""Brings what a run's folder holds to MLflow: everything once, in order, from wherever the last try ended.

mlflow.json says which MLflow run the folder belongs to and how far it was sent: a byte of metrics.jsonl, a byte of
outbox.jsonl, and the size of each table. It is written after the sending, so a crash in between sends something twice;
all that is sent is made so that twice is once. One process at a time delivers a folder (a file lock).
"""

from __future__ import annotations

import fcntl
import logging
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from o3v.errors import StorageError
from o3v.tracking.journal import METRICS, read_lines
from o3v.tracking.mlflow_database import Store, connect
from o3v.tracking.mlflow_store import MAX_METRICS, MlflowRun, batches, failures, find_or_create
from o3v.tracking.outbox import OUTBOX
from o3v.tracking.run import RunFolder, storage

log = logging.getLogger(__name__)

STATE = "mlflow.json"
LOCK = ".sending.lock"


@dataclass(frozen=True)
class SendState:
    """What mlflow.json says.

    Attributes:
        store: the address.
        name: of the run in the UI.
        token: by which the run is found again when its id was never told.
        run_id: MLflow's id; None before the first contact.
        sent_bytes: up to here metrics.jsonl was sent.
        outbox_bytes: up to here the operations of outbox.jsonl were.
        tables: name -> bytes of the local table that were sent.
        refused: places in the outbox of operations that a reachable server refused; tried again at a start and an end.
    """

    store: Store
    name: str
    token: str
    run_id: str | None = None
    sent_bytes: int = 0
    outbox_bytes: int = 0
    tables: Mapping[str, int] = field(default_factory=dict)
    refused: tuple[int, ...] = ()

    def afresh(self) -> SendState:
        """Nothing sent yet, as a run of its own."""
        return SendState(self.store, self.name, uuid.uuid4().hex)


@dataclass(frozen=True)
class Sent:
    """How much was sent, or is left: metric points, operations (tags, pictures, files ...), tables."""

    points: int = 0
    operations: int = 0
    tables: int = 0

    def __add__(self, other: Sent) -> Sent:
        return Sent(self.points + other.points, self.operations + other.operations, self.tables + other.tables)

    def __bool__(self) -> bool:
        return self != Sent()


def read_state(folder: RunFolder) -> SendState | None:
    """The state of a run's folder; None where it was never to be sent to MLflow. Raises DataError."""
    found = folder.read_json(STATE)
    if not isinstance(found, dict) or "sent_bytes" not in found:
        return None
    store = Store(found["tracking_uri"], found["experiment"], found["artifact_location"])
    rest = {key: found[key] for key in ("name", "token", "run_id", "sent_bytes", "outbox_bytes", "tables")}
    return SendState(store, refused=tuple(found["refused"]), **rest)


def write_state(folder: RunFolder, state: SendState) -> None:
    """Keeps the state. Raises StorageError."""
    plain = {key: value for key, value in asdict(state).items() if key != "store"}
    folder.write_json(STATE, {**asdict(state.store), **plain})


def address(folder: RunFolder, store: Store, name: str) -> SendState:
    """Says where the folder is to be sent, before the first contact; another address than before starts from nothing.

    Returns:
        The state, written to mlflow.json.
    """
    state = read_state(folder)
    if state is None or (state.store.tracking_uri, state.store.experiment) != (store.tracking_uri, store.experiment):
        state = SendState(store, name, uuid.uuid4().hex)
        write_state(folder, state)
    return state


def unsent(folder: RunFolder, state: SendState) -> Sent:
    """What the folder holds and the state does not count as sent."""
    points = sum(len(line["values"]) for _, line in read_lines(folder.path / METRICS, state.sent_bytes))
    operations = sum(1 for _ in read_lines(folder.path / OUTBOX, state.outbox_bytes)) + len(state.refused)
    tables = sum(path.stat().st_size != state.tables.get(path.stem, 0) for path in _tables(folder))
    return Sent(points, operations, tables)


class Delivery:
    """Sends one folder, in rounds; a round that fails is repeated by the next and loses nothing.

    Args:
        folder: with mlflow.json (see `address`).
        tables_every_s: least time between two sendings of a growing table; each is sent whole.
    """

    def __init__(self, folder: RunFolder, tables_every_s: float) -> None:
        self._folder = folder
        self._tables_every_s = tables_every_s
        self._lock: IO[str] | None = None
        self._run: MlflowRun | None = None
        self._state: SendState | None = None
        self._table_sent_s: dict[str, float] = {}

    def round(self, last: bool) -> Sent:
        """Sends what is new: metrics, tables, then the operations that were there at the beginning.

        So an operation that ends the run is sent after the metrics before it.

        Args:
            last: tables and refused operations are sent too, whenever they were tried before.

        Returns:
            What was sent.

        Raises:
            Exception: one of `failures()`; what was sent before it is noted.
        """
        path = self._folder.path / OUTBOX
        end = path.stat().st_size if path.is_file() else 0
        first = self._run is None
        run = self._run or self._open()
        try:
            return self._send_all(run, end, first, last)
        except failures() as error:
            if getattr(error, "error_code", None) == "RESOURCE_DOES_NOT_EXIST":
                self._run = None  # the store was emptied: the next round fills a new run
            raise

    def _send_all(self, run: MlflowRun, end_byte: int, first: bool, last: bool) -> Sent:
        sent = self._send_metrics(run) + self._send_tables(run, last)
        places = self._now.refused if first or last else ()
        return sent + self._send_refused(run, places) + self._send_operations(run, end_byte)

    def left(self) -> Sent:
        """What a further round would find. Raises StorageError or DataError where the record cannot be read."""
        return unsent(self._folder, self._now)

    def close(self) -> None:
        """Lets another process deliver; doing it again does no harm."""
        if self._lock is not None:
            fcntl.flock(self._lock, fcntl.LOCK_UN)  # also where a forked loader worker has the file open
            self._lock.close()
        self._lock = self._run = self._state = None

    @property
    def _now(self) -> SendState:
        if self._state is None:
            self._state = read_state(self._folder)
        if self._state is None:
            raise StorageError(f"{self._folder.path / STATE}: is gone; the run cannot be sent")
        return self._state

    def _note(self, **changes: Any) -> None:
        self._state = replace(self._now, **changes)
        write_state(self._folder, self._state)

    def _open(self) -> MlflowRun:
        """The run of the folder: the one that it knows, or one made now; a deleted one is made anew and sent all."""
        self._hold()
        client, experiment_id = connect(self._now.store)
        if self._now.run_id is not None and not MlflowRun(client, self._now.run_id).is_there():
            log.warning("MLflow has no run %s any more; a new one is filled", self._now.run_id)
            self._state = self._now.afresh()
            write_state(self._folder, self._state)
        if self._now.run_id is None:
            self._note(run_id=find_or_create(client, experiment_id, self._now.name, self._now.token, {}))
        assert self._now.run_id is not None
        self._run = MlflowRun(client, self._now.run_id)
        return self._run

    def _hold(self) -> None:
        if self._lock is not None:
            return
        path = self._folder.path / LOCK
        with storage(path):
            handle = path.open("a")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.close()
            raise StorageError(f"{self._folder.path}: another process is sending this run") from None
        self._lock = handle
        self._state = None  # as the process before left it

    def _send_metrics(self, run: MlflowRun) -> Sent:
        points = 0
        lines = read_lines(self._folder.path / METRICS, self._now.sent_bytes)
        for end, group in batches(lines, MAX_METRICS):
            points += run.send_points(group)
            self._note(sent_bytes=end)
        return Sent(points=points)

    def _send_tables(self, run: MlflowRun, last: bool) -> Sent:
        now, sent = time.monotonic(), 0
        for path in _tables(self._folder):
            before = self._now.tables.get(path.stem, 0)
            due = last or now - self._table_sent_s.get(path.stem, float("-inf")) >= self._tables_every_s
            if not due or path.stat().st_size == before:
                continue
            self._table_sent_s[path.stem] = now
            lines = list(read_lines(path))
            if not lines or lines[-1][0] == before:
                continue
            new = _pictures(self._folder, (row for end, row in lines if end > before))
            run.log_table(path.stem, [row for _, row in lines], new)
            self._note(tables={**self._now.tables, path.stem: lines[-1][0]})
            sent += 1
        return Sent(tables=sent)

    def _send_refused(self, run: MlflowRun, places: Iterable[int]) -> Sent:
        done = 0
        for place in places:
            record = next(iter(read_lines(self._folder.path / OUTBOX, place)), None)
            if record is None or self._accepted(run, record[1]):
                self._note(refused=tuple(p for p in self._now.refused if p != place))
                done += 1
        return Sent(operations=done)

    def _send_operations(self, run: MlflowRun, end_byte: int) -> Sent:
        done, place = 0, self._now.outbox_bytes
        start = place
        try:
            for end, record in read_lines(self._folder.path / OUTBOX, start):
                if end > end_byte:
                    break
                if self._accepted(run, record):
                    done += 1
                else:
                    self._note(refused=(*self._now.refused, place))
                place = end
        finally:
            if place != start:
                self._note(outbox_bytes=place)
        return Sent(operations=done)

    def _accepted(self, run: MlflowRun, record: Mapping[str, Any]) -> bool:
        """Does an operation; False where only this one is refused by a store that otherwise works.

        One file that the store does not take must not keep the rest from it.
        """
        try:
            _apply(run, record, self._folder.path)
        except failures() as error:
            if not run.is_there():
                raise
            log.warning("%s: MLflow refused %s (%s); kept for a later try", self._folder.path, record["op"], error)
            return False
        return True


def _apply(run: MlflowRun, record: Mapping[str, Any], root: Path) -> None:
    path = root / record.get("file", "")
    match record["op"]:
        case "params":
            run.log_params(record["values"])
        case "tags":
            run.set_tags(record["values"])
        case "status":
            run.set_status(record["status"])
        case "image" if path.is_file():
            run.log_image(path, record["key"], record["step"], record["time_ms"])
        case "artifact" if path.is_file():
            run.log_artifact(path, record["folder"])
        case _:
            log.warning("%s: not there any more, so MLflow does not get it", path)


def _tables(folder: RunFolder) -> list[Path]:
    return sorted((folder.path / "tables").glob("*.jsonl"))


def _pictures(folder: RunFolder, rows: Iterable[Mapping[str, Any]]) -> list[tuple[str, Path]]:
    cells = [cell for row in rows for cell in row.values() if isinstance(cell, Mapping)]
    files = [cell["file"] for cell in cells if cell.get("type") == "picture"]
    return [(file, folder.path / file) for file in files if (folder.path / file).is_file()]
