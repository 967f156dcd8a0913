"""States on disk: written aside, the one before kept, broken ones passed over, full disks survived."""

import contextlib
import logging
import os
import resource
import subprocess
from types import SimpleNamespace

import pytest
import torch

from o3v.training import state as module
from o3v.training.state import SEAL, CarefulIO, find_state, is_storage_error, read_place, save_state
from tests.training.runs import Session


@contextlib.contextmanager
def files_limited_to(n_bytes):
    """A real OSError (EFBIG) at the byte after the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextlib.contextmanager
def small_disk(folder, megabytes):
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    if subprocess.run(["mount", *options], capture_output=True, check=False).returncode:
        pytest.skip("mounting a small filesystem is not permitted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def batches_in(path):
    return torch.load(path, weights_only=True)["o3v"]["batches_done"]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return Session(tmp_path_factory.mktemp("finished"), batches=4, save_every=2).fit()


def copy_of(finished, folder):
    for path in finished.folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def test_the_two_newest_states_are_kept(finished):
    assert names(finished.folder) == ["last.ckpt", "previous.ckpt"]
    assert [batches_in(finished.folder / name) for name in names(finished.folder)] == [4, 2]
    assert find_state(finished.folder) == finished.folder / "last.ckpt"


def test_an_empty_or_absent_folder_has_no_state(tmp_path):
    assert find_state(tmp_path) is None and find_state(tmp_path / "absent") is None


@pytest.mark.parametrize("keep", [0, 10, 2000, 100_000, -1])
def test_a_cut_off_state_is_passed_over(finished, tmp_path, keep, caplog):
    copy_of(finished, tmp_path)
    whole = (tmp_path / "last.ckpt").read_bytes()
    (tmp_path / "last.ckpt").write_bytes(whole[:keep])
    assert find_state(tmp_path) == tmp_path / "previous.ckpt"
    assert f"{tmp_path}/last.ckpt cannot be read" in caplog.text and "trying the one before" in caplog.text


def test_a_run_goes_on_from_the_state_before_a_broken_one(finished, tmp_path):
    copy_of(finished, tmp_path)
    (tmp_path / "last.ckpt").write_bytes(b"PK broken")
    again = Session(tmp_path, batches=4, save_every=2).fit()
    assert list(again.recorder.metrics) == [2, 3]
    assert all(torch.equal(again.weights[name], weight) for name, weight in finished.weights.items())


def test_two_broken_states_start_from_the_beginning(finished, tmp_path, caplog):
    for name in ("last.ckpt", "previous.ckpt"):
        (tmp_path / name).write_bytes(b"nothing")
    again = Session(tmp_path, batches=4, save_every=2).fit()
    assert list(again.recorder.metrics) == [0, 1, 2, 3]
    assert caplog.text.count("cannot be read") == 2


def test_what_a_killed_process_had_begun_to_write_is_no_state_and_goes(finished, tmp_path):
    copy_of(finished, tmp_path)
    (tmp_path / ".last.ckpt").write_bytes(b"half")
    assert find_state(tmp_path) == tmp_path / "last.ckpt"
    (tmp_path / "last.ckpt").unlink()
    Session(tmp_path, batches=4, save_every=2).fit()
    assert names(tmp_path) == ["last.ckpt", "previous.ckpt"]


def test_a_crash_between_the_renames_leaves_a_state(finished, tmp_path):
    copy_of(finished, tmp_path)
    (tmp_path / "last.ckpt").rename(tmp_path / "previous.ckpt")
    assert find_state(tmp_path) == tmp_path / "previous.ckpt"
    assert batches_in(find_state(tmp_path)) == 4


def only_first(finished, folder):
    """A run that had reached batch 2."""
    (folder / "last.ckpt").write_bytes((finished.folder / "previous.ckpt").read_bytes())


def grown(folder, caplog, finished, limit):
    """A run that goes on from batch 2 under a limit: it must end, say what happened, and leave the old state whole."""
    with limit, caplog.at_level(logging.ERROR):
        session = Session(folder, batches=4, save_every=1).fit()
    assert list(session.recorder.metrics) == [2, 3]
    assert all(torch.equal(session.weights[name], weight) for name, weight in finished.weights.items())
    assert caplog.text.count("state not saved") == 2 and "training goes on" in caplog.text
    assert names(folder) == ["last.ckpt"] and batches_in(folder / "last.ckpt") == 2


def test_a_state_that_is_too_large_for_the_file_system(finished, tmp_path, caplog):
    only_first(finished, tmp_path)
    grown(tmp_path, caplog, finished, files_limited_to(1_000_000))


def test_a_full_disk(finished, tmp_path, caplog):
    size = (finished.folder / "last.ckpt").stat().st_size
    with small_disk(tmp_path / "disk", megabytes=3 * size // 2**20) as disk:
        folder = disk / "states"
        folder.mkdir()
        only_first(finished, folder)
        free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_bsize
        (disk / "filler").write_bytes(b"0" * (free - size // 2))
        grown(folder, caplog, finished, contextlib.nullcontext())


def test_a_folder_that_cannot_be_made(tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    session = Session(tmp_path / "file" / "states", batches=2, save_every=1).fit()
    assert list(session.recorder.metrics) == [0, 1] and "state not saved" in caplog.text


def test_other_errors_are_not_swallowed(tmp_path):
    class Trainer:
        is_global_zero, world_size, strategy = True, 1, None

        def save_checkpoint(self, path):
            raise RuntimeError("size mismatch")

    with pytest.raises(RuntimeError, match="size mismatch"):
        save_state(Trainer(), tmp_path, {}, CarefulIO())
    assert is_storage_error(RuntimeError("[enforce fail] PytorchStreamWriter failed writing file"))


# ---- states that are folders


class Sharded:
    """A trainer whose processes each write a part."""

    is_global_zero, world_size, strategy = True, 1, None

    def save_checkpoint(self, path):
        (path / "model").mkdir(parents=True)
        (path / "model" / "rank0.pt").write_bytes(b"0" * 1000)
        (path / "model" / "rank1.pt").write_bytes(b"1" * 1000)


@pytest.fixture
def sharded(tmp_path):
    for batches in (2, 4):
        assert save_state(Sharded(), tmp_path, {"batches_done": batches}, CarefulIO())
    return tmp_path


def test_a_folder_is_a_state(sharded):
    assert names(sharded) == ["last.ckpt", "previous.ckpt"]
    assert [read_place(sharded / name)["batches_done"] for name in names(sharded)] == [4, 2]
    assert find_state(sharded) == sharded / "last.ckpt"


def cut_part(state):
    (state / "model" / "rank1.pt").write_bytes(b"1" * 999)


def lose_part(state):
    (state / "model" / "rank0.pt").unlink()


def cut_seal(state):
    text = (state / SEAL).read_text()
    (state / SEAL).write_text(text[: len(text) // 2])


def lose_seal(state):
    (state / SEAL).unlink()


@pytest.mark.parametrize("break_it", [cut_part, lose_part, cut_seal, lose_seal])
def test_a_broken_folder_is_passed_over(break_it, sharded, caplog):
    break_it(sharded / "last.ckpt")
    assert find_state(sharded) == sharded / "previous.ckpt"
    assert "last.ckpt cannot be read" in caplog.text


def test_no_room_for_a_folder_is_known_before_the_processes_write(sharded, monkeypatch, caplog):
    monkeypatch.setattr(module, "is_sharded", lambda strategy: True)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda folder: SimpleNamespace(free=1999))
    monkeypatch.setattr(Sharded, "save_checkpoint", None)
    assert not save_state(Sharded(), sharded, {"batches_done": 6}, CarefulIO())
    assert "No space left: 1999 bytes" in caplog.text and find_state(sharded) == sharded / "last.ckpt"
