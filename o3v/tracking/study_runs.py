"""The MLflow runs above the stages: a study, and below it one for each arm and seed.

They are made before the first job, so that no job has to make a schema, an experiment or a parent. Stages join them by
the tag `mlflow.parentRunId`.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from o3v.errors import ServiceError
from o3v.tracking.delivery import STATE
from o3v.tracking.mlflow_database import Store, connect, file_lock
from o3v.tracking.mlflow_store import MlflowRun, failures, find_or_create, stored_name
from o3v.tracking.mlflow_tracker import PARENT, MlflowSettings
from o3v.tracking.run import RunFolder

if TYPE_CHECKING:
    from mlflow import MlflowClient

Member = tuple[str, int]
"""Arm and seed."""

State = Literal["FINISHED", "FAILED", "RUNNING"]


@dataclass(frozen=True)
class StudyRuns:
    """MLflow's ids.

    Attributes:
        study_id: of the study's run.
        member_ids: arm and seed -> id of its run below the study's.
    """

    study_id: str
    member_ids: Mapping[Member, str]


def open_study_runs(
    settings: MlflowSettings, folder: RunFolder, name: str, members: Sequence[Member], tags: Mapping[str, str]
) -> StudyRuns:
    """The runs of a study; those that are not there yet are made, together with database and experiment.

    Ids are kept in the folder's mlflow.json. Doing it again, or at the same time from two processes, makes no second
    run; a member that is new joins the others. A run that the store no longer has is made anew.

    Args:
        settings: `logger=mlflow`.
        folder: of the study.
        name: of the study, the name of its run.
        members: arms and seeds; earlier ones that are missing here keep their runs.
        tags: of all runs, for example the git commit.

    Returns:
        Ids of the study and of all `members`.

    Raises:
        ServiceError: MLflow cannot be reached or refuses.
        StorageError: the folder cannot be written.
    """
    folder.create()
    with file_lock(folder.path / ".mlflow.lock"), _service(settings.store):
        state = _known(folder, settings.store)
        folder.write_json(STATE, state)  # the token first: a server may die between making a run and answering
        client, experiment_id = connect(settings.store)
        told = {**(settings.tags or {}), **tags, "study": name}
        state["study_id"] = _run(
            client, experiment_id, state.get("study_id"), name, (state["token"], {**told, "level": "study"})
        )
        folder.write_json(STATE, state)
        for arm, seed in members:
            key = f"{arm}/{seed}"
            more = {**told, "level": "member", "arm": arm, "seed": str(seed), PARENT: state["study_id"]}
            token = f"{state['token']}-{stored_name(key)}"
            there = state["members"].get(key)
            state["members"][key] = _run(client, experiment_id, there, f"{arm} seed {seed}", (token, more))
        folder.write_json(STATE, state)
    return StudyRuns(state["study_id"], {(a, s): state["members"][f"{a}/{s}"] for a, s in members})


def read_study_runs(folder: RunFolder) -> StudyRuns | None:
    """Ids that `open_study_runs` kept, of all members ever; None where there are none. Asks no server."""
    state = folder.read_json(STATE)
    if not isinstance(state, dict) or "study_id" not in state:
        return None
    split = {key: key.rpartition("/") for key in state["members"]}
    return StudyRuns(state["study_id"], {(split[k][0], int(split[k][2])): run for k, run in state["members"].items()})


def state_of(stages: Iterable[str]) -> State:
    """State of a run by the states of what lies below it.

    FAILED as soon as something failed and nothing runs any more; FINISHED when all is finished.

    Args:
        stages: `finished`, `failed`, or anything else for what is running, waiting or not yet started; upper case is
            the same. A stage that never starts because its parent failed counts as failed.

    >>> state_of(["finished", "finished"]), state_of(["finished", "failed"]), state_of(["failed", "running"])
    ('FINISHED', 'FAILED', 'RUNNING')
    >>> state_of([])
    'RUNNING'
    """
    seen = {stage.lower() for stage in stages}
    if not seen or seen - {"finished", "failed"}:
        return "RUNNING"
    return "FAILED" if "failed" in seen else "FINISHED"


def close_member(
    settings: MlflowSettings, run_id: str, stages: Iterable[str], metrics: Mapping[str, float] | None = None
) -> State:
    """Sets a member's run to the state of its stages, with its final numbers, by which MLflow compares arms.

    Args:
        settings: `logger=mlflow`.
        run_id: from `StudyRuns.member_ids`.
        stages: see `state_of`.
        metrics: final numbers of the member, at step 0; one that the run has already with the same value is left.

    Raises:
        ServiceError: MLflow cannot be reached or refuses.
    """
    with _service(settings.store):
        client, _ = connect(settings.store)
        return _close(client, run_id, state_of(stages), metrics or {})


def close_study(settings: MlflowSettings, study_id: str, members: Iterable[State]) -> State:
    """Sets the study's run to the state of its members. Raises ServiceError."""
    return close_member(settings, study_id, members)


def _known(folder: RunFolder, store: Store) -> dict[str, Any]:
    """The folder's state; an empty one with a new token where it knows another address or nothing."""
    state = folder.read_json(STATE)
    place = {"tracking_uri": store.tracking_uri, "experiment": store.experiment}
    if isinstance(state, dict) and place.items() <= state.items():
        return state
    return {**place, "token": uuid.uuid4().hex, "members": {}}


def _run(
    client: MlflowClient, experiment_id: str, run_id: str | None, name: str, identity: tuple[str, Mapping[str, str]]
) -> str:
    """The run with this id if the store has it, else the one with this token, made where there is none."""
    token, tags = identity
    if run_id is None or not MlflowRun(client, run_id).is_there():
        run_id = find_or_create(client, experiment_id, name, token, tags)
    MlflowRun(client, run_id).set_tags(tags)
    return run_id


def _close(client: MlflowClient, run_id: str, state: State, metrics: Mapping[str, float]) -> State:
    run = client.get_run(run_id)
    run_metrics = run.data.metrics
    changed = {k: v for k, v in metrics.items() if v == v and run_metrics.get(stored_name(k)) != float(v)}
    for key, value in changed.items():
        client.log_metric(run_id, stored_name(key), float(value), step=0)
    if run.info.status != state:
        if state == "RUNNING":
            client.update_run(run_id, status=state)
        else:
            client.set_terminated(run_id, status=state)
    return state


@contextmanager
def _service(store: Store) -> Iterator[None]:
    try:
        yield
    except failures() as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ServiceError(
            f"logger.tracking_uri={store.tracking_uri}: MLflow cannot be used ({reason}); "
            "start the server (make mlflow-server), or choose logger=jsonl"
        ) from error
