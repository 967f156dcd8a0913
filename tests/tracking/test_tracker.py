"""Trackers that need no server: files, several at once, and what a disk that fails does."""

import logging
import subprocess
import sys

import pytest
from PIL import Image

from o3v.errors import StorageError
from o3v.tracking.run import RunFolder
from o3v.tracking.tracker import Guard, JsonlSettings, NullSettings, Trackers, flatten


def test_guard_lets_bugs_through():
    with pytest.raises(ZeroDivisionError), Guard("x", (OSError,)):
        _ = 1 / 0


def test_jsonl_and_composite(tmp_path):
    one = JsonlSettings({"arm": "o3"}).start(RunFolder(tmp_path / "a"), "n", {"x": {"y": 1}}, {"seed": "1"})
    two = NullSettings().start(RunFolder(tmp_path / "b"), "n", {}, {})
    both = Trackers((one, two))
    both.metrics({"a": 1}, 0)
    both.params({"x": {"y": 2}})
    both.tags({"more": "1"})
    both.table("t", [{"a": 1}], 0)
    both.image("i", Image.new("RGB", (2, 2)), 0)
    both.artifact(tmp_path / "x", "")
    both.finish("failed")
    read = RunFolder(tmp_path / "a").read_json
    assert read("params.json") == {"x/y": "2"}
    assert read("tags.json") == {"name": "n", "seed": "1", "arm": "o3", "more": "1"}
    assert read("status.json") == {"status": "failed"}
    assert not (tmp_path / "b").exists()


def test_jsonl_survives_a_disk_that_fails_after_the_start(tmp_path, caplog):
    tracker = JsonlSettings({"arm": "o3"}).start(RunFolder(tmp_path / "a"), "n", {}, {})
    (tmp_path / "a" / "metrics.jsonl").mkdir()
    with caplog.at_level(logging.WARNING):
        tracker.metrics({"a": 1}, 0)
        tracker.metrics({"a": 1}, 1)
    assert len(caplog.records) == 1


def test_an_unwritable_folder_is_told_at_the_start(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError):
        JsonlSettings({"arm": "o3"}).start(RunFolder(tmp_path / "file" / "x"), "n", {}, {})


def test_flatten_empty_and_lists():
    assert flatten({"a": {}, "b": [1], "c": {"d": None}}) == {"a": "{}", "b": "[1]", "c/d": "None"}


def test_mlflow_is_imported_only_when_a_run_starts():
    modules = "sys, o3v.tracking.tracker, o3v.tracking.mlflow_tracker, o3v.tracking.study_runs, o3v.sync"
    code = f"import {modules}; assert 'mlflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
