"""Run identity: signature, git state, atomic files and what happens on a disk that cannot be written."""

import json
import subprocess
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from o3v.errors import ConfigError, DataError, StorageError
from o3v.tracking.run import RunFolder, git_state, run_signature, write_atomically

LEAF = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5)
)
CONFIG = st.dictionaries(st.text(min_size=1, max_size=5), LEAF | st.dictionaries(st.text(max_size=3), LEAF), max_size=5)


def test_signature_is_stable_over_releases():
    config = {"seed": 1, "reward": {"weights": {"ans_acc": 1.0, "format": 0.5}}, "name": "größe", "terms": ["a", None]}
    assert run_signature(config) == "fc7a776a"


def test_place_is_not_identity():
    config = {"seed": 1, "cluster": {"nodes": 1}, "logger": {"x": object}, "paths": {"out": "/a"}, "hydra": 1}
    assert run_signature(config) == run_signature({"seed": 1})


def test_what_is_computed_is_identity():
    assert run_signature({"seed": 1}) != run_signature({"seed": 2})
    assert run_signature({"a": {"cluster": 1}}) != run_signature({"a": {"cluster": 2}})  # only at the top
    assert run_signature({"a": True}) != run_signature({"a": 1})
    assert run_signature({"a": "1"}) != run_signature({"a": 1})


@given(CONFIG)
def test_order_of_keys_does_not_matter(config):
    assert run_signature(config) == run_signature(dict(reversed(config.items())))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), Path("/x"), object()])
def test_signature_names_the_key_that_has_no_json(value):
    with pytest.raises(ConfigError, match=r"model\.sizes\[1\]"):
        run_signature({"model": {"sizes": [1, value]}})


def test_git_state(tmp_path):
    assert git_state(tmp_path) == {"commit": None, "dirty": False}
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    (tmp_path / "a").write_text("1")
    for command in (["init", "-q"], ["add", "a"], ["commit", "-qm", "x"]):
        subprocess.run([*git, *command], check=True)
    clean = git_state(tmp_path)
    assert clean["commit"] is not None and len(clean["commit"]) == 40 and not clean["dirty"]
    (tmp_path / "untracked").write_text("1")
    assert not git_state(tmp_path)["dirty"]
    (tmp_path / "a").write_text("2")
    assert git_state(tmp_path)["dirty"]


def test_folder_keeps_config_and_result(tmp_path):
    folder = RunFolder(tmp_path / "deep" / "run")
    folder.create()
    assert folder.done() is None
    config = {"seed": 0, "reward": {"weights": [1, 2.5]}, "name": "é"}
    folder.write_config(config)
    folder.mark_done({"mAM": 0.5})
    assert yaml.safe_load((folder.path / "config.yaml").read_text()) == config
    assert folder.done() == {"mAM": 0.5}
    assert sorted(path.name for path in folder.path.iterdir()) == ["DONE.json", "config.yaml"]


def test_a_write_that_fails_leaves_the_old_content(tmp_path):
    target = tmp_path / "x.json"
    write_atomically(target, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(target, "\ud800")
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_unwritable_folder_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("")
    folder = RunFolder(tmp_path / "file" / "run")
    for action in (folder.create, lambda: folder.mark_done({}), lambda: folder.write_config({})):
        with pytest.raises(StorageError, match="file/run"):
            action()


def test_full_disk_is_a_storage_error(tmp_path, monkeypatch):
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        RunFolder(tmp_path).write_json("a.json", {})
    assert list(tmp_path.iterdir()) == []


def test_broken_json_is_named(tmp_path):
    (tmp_path / "DONE.json").write_text("{")
    with pytest.raises(DataError, match=r"DONE\.json"):
        RunFolder(tmp_path).done()


def test_json_is_readable_text(tmp_path):
    path = RunFolder(tmp_path).write_json("a.json", {"ä": [1]})
    assert json.loads(path.read_text()) == {"ä": [1]} and "ä" in path.read_text()
