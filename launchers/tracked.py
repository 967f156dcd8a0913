"""Where a study's runs belong in MLflow: its runs are made before the first job, and each job is told its place."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from launchers.stage import COMMANDS
from launchers.states import DONE, FAILED, NEVER_RUNS, RunState
from o3v.compose import compose_command, override
from o3v.config import build
from o3v.errors import ServiceError
from o3v.study import StageRun, Study
from o3v.tracking.run import GitState, RunFolder

log = logging.getLogger(__name__)

SHARED = "shared"
"""Tag `arm` of a run that several arms use."""

TOLD = "mlflow_closed.json"
"""What MLflow was told last of the members' ends."""

CLOSED = {DONE: "finished", FAILED: "failed", NEVER_RUNS: "failed"}
"""State of a run -> that of a stage in MLflow; anything else goes on."""

Tracking = Callable[[StageRun], list[str]]
"""A run -> overrides of its logger."""


def open_tracking(study: Study, git: GitState) -> Tracking:
    """Make the study's runs where its logger is MLflow; returns what each run is to be told.

    Where MLflow cannot be reached the study goes on, with tags alone: a warning says so.

    Args:
        study: with at least one run; all have the same logger.
        git: the code's state, a tag of the study's run.
    """
    settings = logger_of(study)
    if not hasattr(settings, "tags"):
        return lambda run: []
    parents = _open(study, settings, git) if hasattr(settings, "parent") else {}
    return lambda run: overrides_for(run, study.name, dict(settings.tags or {}), parents)


def logger_of(study: Study) -> Any:
    """The settings that all runs of the study record with; None where they are functions of one's own."""
    run = next(iter(study.runs.values()))
    if run.command not in COMMANDS:
        return None
    return build(compose_command(run.command, run.overrides, check=False), "logger")


def overrides_for(run: StageRun, study: str, tags: dict[str, str], parents: dict[Any, str]) -> list[str]:
    """Overrides of the logger of one run.

    Args:
        run: of the study.
        study: its name.
        tags: that the configured logger gives already.
        parents: (arm, seed) -> id of that member's run, None -> of the study's; empty where there are none.
    """
    members = [(arm, seed) for arm in run.arms for seed in run.seeds]
    arm = run.arms[0] if len(run.arms) == 1 else SHARED
    told = [override("logger.tags", {**tags, "study": study, "arm": arm})]
    parent = parents.get(members[0]) if len(members) == 1 else parents.get(None)
    return told if parent is None else [*told, override("logger.parent", parent)]


def close_runs(study: Study, states: Sequence[RunState]) -> None:
    """Set the study's runs in MLflow to what has become of their stages, with the numbers of finished evaluations.

    Nothing is asked where nothing has changed since the last time; where MLflow cannot be reached a warning says so.

    Args:
        study: whose folder knows the ids.
        states: of all its runs.
    """
    from o3v.tracking.study_runs import close_member, close_study, read_study_runs, state_of

    folder = RunFolder(study.folder)
    opened = read_study_runs(folder)
    if opened is None:
        return
    words = {state.key: CLOSED.get(state.state, "running") for state in states}
    stages = {member: [words[key] for key in keys] for member, keys in study.members.items()}
    told = {f"{arm}/{seed}": state_of(found) for (arm, seed), found in stages.items()}
    if folder.read_json(TOLD) == told or set(told.values()) == {"RUNNING"}:
        return
    settings = logger_of(study)
    try:
        for member in [member for member in stages if member in opened.member_ids]:
            close_member(settings, opened.member_ids[member], stages[member], _numbers(study, member))
        close_study(settings, opened.study_id, list(told.values()))
    except ServiceError as error:
        log.warning("MLflow cannot be reached, so its runs of the study stay open: %s", error)
    else:
        folder.write_json(TOLD, told)


def _numbers(study: Study, member: tuple[str, int]) -> dict[str, float]:
    """`BENCHMARK/METRIC` of a member's finished evaluations."""
    runs = [study.runs[key] for key in study.members[member]]
    results = {run.benchmark: run.done() or {} for run in runs if run.benchmark is not None}
    return {
        f"{benchmark}/{name}": float(value)
        for benchmark, result in results.items()
        for name, value in result.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _open(study: Study, settings: Any, git: GitState) -> dict[Any, str]:
    from o3v.tracking.study_runs import open_study_runs

    tags = {"title": study.title, "git_commit": git["commit"] or "none", "git_dirty": str(git["dirty"])}
    try:
        opened = open_study_runs(settings, RunFolder(study.folder), study.name, list(study.members), tags)
    except ServiceError as error:
        log.warning("MLflow cannot be reached, so the runs will not hang below one of the study: %s", error)
        return {}
    return {None: opened.study_id, **opened.member_ids}
