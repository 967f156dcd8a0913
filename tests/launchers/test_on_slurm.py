"""Launch, status and cancel against a true SLURM, with stand-in stages."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from launchers.cancel import cancel_study
from launchers.launch import launch
from launchers.ledger import read_ledger
from launchers.states import RunState, job_states, study_states
from o3v.study import Study
from tests.launchers.standin import StandInError
from tests.launchers.studies import SLURM, chain

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(180)]


def states_of(study: Study) -> dict[str, RunState]:
    ledger = read_ledger(study.folder, study.name)
    return {state.key: state for state in study_states(study, ledger, job_states(ledger))}


def settled(slurm, study: Study, limit_s: float = 90) -> dict[str, RunState]:
    """The states once nothing runs or waits any more."""
    ends = {"done", "failed", "will never run", "never submitted"}
    slurm.wait(lambda: all(state.state in ends for state in states_of(study).values()), limit_s, "the study's end")
    return states_of(study)


def submitted(study: Study) -> set[str]:
    """Keys that the last launch submitted."""
    return set(read_ledger(study.folder, study.name).launches[-1].jobs)


def jobs_of(study: Study):
    return read_ledger(study.folder, study.name).jobs


def test_one_arm_fails_is_repaired_and_a_new_one_joins(slurm, tmp_path: Path) -> None:
    repair = tmp_path / "repaired"
    arms = {"a": {}, "b": {"rl/1": [f"fail_unless={repair}"]}, "c": {}}
    study = chain(tmp_path, arms)
    assert launch(study, ["cluster=slurm_cpu"]) == 14
    jobs = jobs_of(study)
    assert len({job.id.split("_")[0] for job in jobs.values()}) == 7  # one array a stage and arm, SFT shared
    assert jobs["rl-b-1"].after == jobs["sft-1"].id and jobs["eval-c-0"].after == jobs["rl-c-0"].id

    ended = settled(slurm, study)
    assert {key for key, state in ended.items() if state.state != "done"} == {"rl-b-1", "eval-b-1"}
    assert ended["rl-b-1"].state == "failed"
    assert ended["rl-b-1"].reason == f"{StandInError.__name__}: rl-b-1 was made to fail"
    assert (ended["rl-b-1"].done, ended["rl-b-1"].total) == (1, 2)
    assert ended["eval-b-1"].state == "will never run"
    assert ended["eval-b-1"].reason == "stage rl (rl-b-1) failed"
    assert not (tmp_path / "eval-b-1").exists()
    assert slurm.state(jobs["rl-b-1"].id) == "FAILED"
    assert "Traceback" in Path(jobs["rl-b-1"].log).read_text()

    repair.touch()
    assert launch(study, []) == 2
    assert submitted(study) == {"rl-b-1", "eval-b-1"}
    assert {state.state for state in settled(slurm, study).values()} == {"done"}
    assert json.loads((tmp_path / "rl-b-1" / "DONE.json").read_text())["resumed_from"] == 1

    before = (study.folder / "plan.json").read_text()
    assert launch(study, []) == 0
    assert (study.folder / "plan.json").read_text() == before

    wider = chain(tmp_path, {**arms, "d": {}})
    assert launch(wider, []) == 4
    assert submitted(wider) == {"rl-d-0", "rl-d-1", "eval-d-0", "eval-d-1"}
    assert {state.state for state in settled(slurm, wider).values()} == {"done"}
    seen = json.loads((tmp_path / "rl-d-0" / "DONE.json").read_text())["env"]
    assert seen["SRUN_CPUS_PER_TASK"] == "1"
    assert Path(seen["O3V_BATCH_FILE"]).read_text().startswith("#!/bin/bash")


def test_an_arm_joins_while_its_parent_runs(slurm, tmp_path: Path) -> None:
    slow = {"a": {"sft": ["steps=200", "step_s=0.1"]}}
    first = chain(tmp_path, slow, seeds=(0,), stages=("sft", "rl"))
    launch(first, [])
    parent = jobs_of(first)["sft-0"].id
    slurm.wait_state(parent, "RUNNING")
    wider = chain(tmp_path, {**slow, "b": {}}, seeds=(0,), stages=("sft", "rl"))
    assert launch(wider, []) == 1
    assert jobs_of(wider)["rl-b-0"].after == parent
    waiting = states_of(wider)
    assert waiting["rl-b-0"].state == "waiting" and waiting["rl-b-0"].reason == "the stage before it"
    assert waiting["sft-0"].state == "running" and 0 < waiting["sft-0"].limit_s <= 1200
    assert set(cancel_study(wider.folder, "study", {"b"})) == {"rl-b-0"}
    assert set(cancel_study(wider.folder, "study", None)) == {"sft-0", "rl-a-0"}
    ended = settled(slurm, wider)
    assert ended["sft-0"].reason == "cancelled by launchers.cancel"
    assert ended["rl-a-0"].state == "will never run"


def test_a_stage_whose_upstream_is_gone_refuses(slurm, tmp_path: Path) -> None:
    study = chain(tmp_path, {"a": {"sft": ["step_s=0.5"]}}, seeds=(0,), stages=("sft", "rl"))
    launch(study, [])
    slurm.wait_state(jobs_of(study)["sft-0"].id, "COMPLETED")
    (tmp_path / "sft-0" / "DONE.json").unlink()
    ended = settled(slurm, study)
    assert "StageNotDoneError: stage sft is not done" in ended["rl-a-0"].reason
    assert launch(study, []) == 2


def test_a_killed_job_is_seen_and_submitting_within_a_job_works(slurm, tmp_path: Path) -> None:
    study = chain(tmp_path, {"a": {"sft": ["steps=600", "step_s=0.1"]}}, seeds=(0,), stages=("sft", "rl"))
    launch(study, [])
    job = jobs_of(study)["sft-0"].id
    slurm.wait(lambda: (tmp_path / "sft-0" / "progress.json").exists(), 60, "the first step")
    for pid in slurm.pids(job):
        os.kill(pid, signal.SIGKILL)
    ended = settled(slurm, study)
    assert ended["sft-0"].state == "failed" and "Killed" in ended["sft-0"].reason
    assert ended["rl-a-0"].state == "will never run"

    (tmp_path / "outer").mkdir()
    (tmp_path / "outer" / "resources.json").write_text(json.dumps(SLURM))
    outer = chain(tmp_path / "outer", {"a": {}}, seeds=(0,), stages=("sft",), resources={**SLURM, "gpus_per_node": 1})
    run = outer.runs["sft-0"]
    object.__setattr__(run, "command", "tests.launchers.standin:nested")
    assert launch(outer, []) == 1
    assert settled(slurm, outer)["sft-0"].state == "done"
    inner = run.folder / "inner" / "sft-0" / "DONE.json"
    slurm.wait(inner.exists, 60, "the inner study")
