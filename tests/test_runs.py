"""A run's life: opened, continued, finished, skipped, run again, and never by two processes at once."""

import json
import logging
import multiprocessing
import time

import pytest

from o3v import runs
from o3v.errors import StorageError
from o3v.runs import open_run
from o3v.tracking.tracker import JsonlSettings, NullTracker


def opened(out, seed=0, again=False, **changes):
    config = {"seed": seed, "again": again, "paths": {"output_dir": str(out)}} | changes
    return open_run("train", config, JsonlSettings({}), again)


def finished(out, **changes):
    run = opened(out, **changes)
    run.tracker.metrics({"train/loss": 1.0, "train/time/step_cpu_s": 2.0}, 0)
    (run.states).mkdir()
    run.complete(lambda: {"loss": 1.0, "model": "somewhere"})
    return run


def test_a_finished_run_is_not_run_twice(tmp_path, caplog):
    first = finished(tmp_path)
    with caplog.at_level(logging.INFO):
        second = opened(tmp_path)
    assert second.result == {"loss": 1.0, "model": "somewhere"}
    assert isinstance(second.tracker, NullTracker) and "again=true" in caplog.text
    assert second.folder == first.folder and first.cpu_s() == 2.0


def test_again_starts_afresh_and_sets_the_record_aside(tmp_path):
    first = finished(tmp_path)
    before = (first.folder.path / "metrics.jsonl").read_text()
    again = opened(tmp_path, again=True)
    assert again.folder == first.folder and again.result is None
    assert not again.states.exists() and again.folder.done() is None
    assert (first.folder.path / "earlier-1" / "metrics.jsonl").read_text() == before
    again.tracker.metrics({"train/loss": 5.0}, 0)
    again.complete(lambda: {"loss": 5.0})
    lines = (first.folder.path / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[0])["values"] == {"train/loss": 5.0}


@pytest.mark.parametrize(
    ("error", "status"),
    [(KeyboardInterrupt(), "interrupted"), (SystemExit(1), "interrupted"), (ValueError(), "failed")],
)
def test_whatever_stops_a_run_is_told_and_goes_on(tmp_path, error, status):
    def work():
        raise error

    run = opened(tmp_path)
    with pytest.raises(type(error)):
        run.complete(work)
    assert json.loads((run.folder.path / "status.json").read_text()) == {"status": status}
    assert run.folder.done() is None
    assert opened(tmp_path).result is None  # and the lock is free


def test_what_a_run_is_decides_its_folder(tmp_path):
    folders = [opened(tmp_path, seed=seed).folder.path for seed in (0, 1)]
    elsewhere = opened(tmp_path / "other").folder.path
    assert folders[0] != folders[1] and elsewhere.name == folders[0].name
    assert opened(tmp_path / "third", logger={"x": 1}, cluster={"y": 2}).folder.path.name == folders[0].name


def hold(out, is_open, may_end):
    run = opened(out)
    is_open.set()
    may_end.wait(30)
    run.complete(lambda: {})


def test_two_processes_never_work_on_one_run(tmp_path, monkeypatch):
    spawn = multiprocessing.get_context("spawn")
    is_open, may_end = spawn.Event(), spawn.Event()
    other = spawn.Process(target=hold, args=(tmp_path, is_open, may_end))
    other.start()
    assert is_open.wait(60)
    monkeypatch.setattr(runs, "LOCK_WAIT_S", 0.3)
    with pytest.raises(StorageError, match="another process is working on this run"):
        opened(tmp_path)
    other.kill()  # the lock of a killed process is gone with it
    other.join()
    assert opened(tmp_path).result is None


def test_a_finished_life_frees_the_run_at_once(tmp_path):
    started = time.monotonic()
    finished(tmp_path)
    opened(tmp_path)
    opened(tmp_path, again=True).complete(lambda: {})
    opened(tmp_path)
    assert time.monotonic() - started < runs.LOCK_WAIT_S / 3


def test_other_ranks_write_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    run = opened(tmp_path)
    assert isinstance(run.tracker, NullTracker) and run.lock is None and not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        opened(tmp_path / "file")


def swept(overrides, mode):
    from hydra import compose, initialize_config_dir
    from hydra.core.hydra_config import HydraConfig

    from o3v.cli import conf_folder
    from o3v.config import register_schemas

    register_schemas()
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        composed = compose("train", overrides=[*overrides, f"hydra.mode={mode}"], return_hydra_config=True)
    composed.hydra.overrides.task = list(overrides)
    HydraConfig.instance().set_config(composed)
    try:
        return runs.overrides_as_tags()
    finally:
        HydraConfig.instance().cfg = None


def test_what_a_multirun_sweeps_are_tags():
    overrides = ["reward=no_gate", "seed=1", "logger=jsonl", "paths.output_dir=/x", "++optim.lr=0.1"]
    assert swept(overrides, "MULTIRUN") == {"reward": "no_gate", "seed": "1", "optim.lr": "0.1"}
    assert swept(overrides, "RUN") == {} and runs.overrides_as_tags() == {}


def test_circumstances_are_kept_with_the_run(tmp_path):
    folder = opened(tmp_path).folder
    assert folder.read_json("environment.json")["packages"] and "commit" in folder.read_json("git.json")
