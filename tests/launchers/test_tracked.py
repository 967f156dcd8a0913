"""Where runs belong in MLflow: a true store, no jobs."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from launchers import tracked
from launchers.ledger import Ledger
from launchers.stage import changed_code
from launchers.states import study_states
from launchers.tracked import close_runs, open_tracking, overrides_for
from o3v.compose import compose_command
from o3v.errors import ServiceError
from o3v.study import Study
from o3v.tracking import study_runs
from o3v.tracking.run import RunFolder
from o3v.tracking.study_runs import read_study_runs
from tests.launchers.studies import chain

GIT = {"commit": "abc", "dirty": False}


def test_a_run_of_one_member_hangs_below_it_and_a_shared_one_below_the_study(tmp_path: Path) -> None:
    study = chain(tmp_path, {"a": {}, "b": {}}, seeds=(0,), stages=("sft", "rl"))
    parents = {None: "top", ("a", 0): "a0", ("b", 0): "b0"}
    assert overrides_for(study.runs["rl-b-0"], "s", {}, parents) == ["logger.tags={study:s,arm:b}", "logger.parent=b0"]
    assert overrides_for(study.runs["sft-0"], "s", {"x": "y"}, parents) == [
        "logger.tags={x:y,study:s,arm:shared}",
        "logger.parent=top",
    ]
    assert overrides_for(study.runs["sft-0"], "s", {}, {}) == ["logger.tags={study:s,arm:shared}"]


def test_own_functions_are_told_nothing(tmp_path: Path) -> None:
    study = chain(tmp_path, {"a": {}})
    assert open_tracking(study, GIT)(study.runs["sft-0"]) == []


def trained(tmp_path: Path, *overrides: str) -> Study:
    """A study whose first stage is a run of o3v.train."""
    study = chain(tmp_path, {"a": {}, "no_gate": {}}, seeds=(0,))
    given = (f"paths.output_dir={tmp_path}", *overrides)
    runs = {key: replace(run, command="train", overrides=given) for key, run in study.runs.items()}
    return replace(study, runs=runs)


@pytest.mark.parametrize("logger", ["jsonl", "none"])
def test_other_loggers(tmp_path: Path, logger: str) -> None:
    study = trained(tmp_path, f"logger={logger}")
    told = open_tracking(study, GIT)(study.runs["sft-0"])
    assert told == ([] if logger == "none" else ["logger.tags={study:study,arm:shared}"])


def test_mlflow_runs_are_made_before_the_first_job(tmp_path: Path) -> None:
    study = trained(tmp_path)
    told = open_tracking(study, GIT)
    opened = read_study_runs(RunFolder(study.folder))
    assert opened is not None and set(opened.member_ids) == {("a", 0), ("no_gate", 0)}
    run = study.runs["rl-no_gate-0"]
    cfg = compose_command(run.command, (*run.overrides, *told(run)))
    assert cfg.logger.parent == opened.member_ids["no_gate", 0]
    assert dict(cfg.logger.tags) == {"study": "study", "arm": "no_gate"}
    changed = compose_command(run.command, (*run.overrides, *told(run), *changed_code(told(run), "0123", GIT)))
    assert changed.logger.tags.submitted_commit == "0123"


def test_ended_members_are_closed_with_their_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    study = trained(tmp_path)
    evals = {key: replace(run, benchmark="shapes") for key, run in study.runs.items() if run.stage == "eval"}
    study = replace(study, runs={**study.runs, **evals})
    open_tracking(study, GIT)
    opened = read_study_runs(RunFolder(study.folder))
    assert opened is not None
    for key in study.members["a", 0]:
        RunFolder(study.runs[key].folder).mark_done({"acc": 0.5, "folder": "x", "seen": True})
    client = MlflowClient(tracked.logger_of(study).tracking_uri)
    close_runs(study, study_states(study, Ledger("study"), {}))
    member = client.get_run(opened.member_ids["a", 0])
    assert member.info.status == "FINISHED" and member.data.metrics == {"shapes/acc": 0.5}
    assert client.get_run(opened.study_id).info.status == "RUNNING"
    monkeypatch.setattr(tracked, "logger_of", lambda study: pytest.fail("asked again"))
    close_runs(study, study_states(study, Ledger("study"), {}))


def test_without_mlflow_the_study_goes_on(tmp_path: Path, monkeypatch, caplog: pytest.LogCaptureFixture) -> None:
    def away(*_):
        raise ServiceError("connection refused")

    monkeypatch.setattr(study_runs, "open_study_runs", away)
    study = trained(tmp_path)
    with caplog.at_level(logging.WARNING):
        told = open_tracking(study, GIT)
    assert "connection refused" in caplog.text
    assert told(study.runs["sft-0"]) == ["logger.tags={study:study,arm:shared}"]
