"""Reading a study's runs: states, who waits for what, curves, broken files."""

import json
import time

import numpy as np
import pytest

from o3v.comparison.collect import collect, read_curves, run_state
from o3v.errors import DataError
from o3v.tracking.run import RunFolder
from tests.comparison.studies import declare, finish, scored, write_curves


def test_states_of_a_run(tmp_path):
    assert run_state(tmp_path / "none").state == "not started"
    files = RunFolder(tmp_path / "run")
    files.create()
    assert (run_state(files.path).state, run_state(files.path).told) == ("running", "")
    progress = {"done": 17, "total": 36, "unit": "batches", "time_s": time.time() - 7300, "rate_per_s": None}
    files.write_json("progress.json", progress)
    assert run_state(files.path).told == "17 of 36 batches, last sign 2.0 h ago"
    for status in ("failed", "interrupted"):
        files.write_json("status.json", {"status": status})
        assert run_state(files.path).state == status
    files.mark_done({})
    assert run_state(files.path).state == "finished"


def test_what_did_not_finish_is_told_with_everybody_who_waits(tmp_path):
    study = declare(tmp_path, arms=("base", "x"), seeds=(0, 1))
    shared = {**study.members, ("x", 1): (study.members["base", 1][0], study.members["x", 1][1])}
    object.__setattr__(study, "members", shared)
    scored(study, {("base", 0): np.ones(3)})
    RunFolder(study.runs["rl-base1"].folder).write_json("status.json", {"status": "failed"})
    found = {one.key: one for one in collect(study, []).unfinished()}
    assert "eval_made-base0" not in found
    assert (found["rl-base1"].state, found["rl-base1"].arms, found["rl-base1"].seeds) == ("failed", ("base", "x"), (1,))
    assert (found["eval_made-x1"].stage, found["eval_made-x1"].state) == ("eval_made", "not started")


def test_curves_by_pattern_under_stored_names(tmp_path):
    write_curves(tmp_path, {"train/reward": [1.0, 2.0], "train/reward/R1@t": [0.5, 0.6], "train/lr": [1, 1]})
    with (tmp_path / "metrics.jsonl").open("a") as handle:
        handle.write('{"step": 2, "time_ms": 1, "values"')  # the line that a killed run had begun
    found = read_curves(tmp_path, ["train/reward", "train/reward/*"])
    assert found == {"train/reward": ((0, 1.0), (1, 2.0)), "train/reward/R1_t": ((0, 0.5), (1, 0.6))}


def test_broken_files_are_named(tmp_path):
    study = declare(tmp_path, seeds=(0,))
    folder = study.runs["eval_made-base0"].folder
    finish(folder)
    with pytest.raises(DataError, match=r"answers .* are gone"):
        collect(study, [])
    (folder / "records.jsonl").write_text(json.dumps({"sample_id": "x"}) + "\n")
    with pytest.raises(DataError, match=r"records.jsonl:1: not a record"):
        collect(study, [])


def test_other_folders_than_the_runs_own(tmp_path):
    study = declare(tmp_path / "a", seeds=(0,))
    scored(study, {("base", 0): np.ones(2)})
    elsewhere = {"eval_made-base0": study.runs["eval_made-base0"].folder, "eval_made-arm0": tmp_path / "nowhere"}
    found = collect(study, [], elsewhere, "MLflow")
    assert list(found.records) == ["eval_made-base0"] and found.source == "MLflow"
