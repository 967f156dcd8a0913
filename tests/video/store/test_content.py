"""A file's content is hashed once, and a change is never overlooked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from o3v.errors import ConfigError, MediaError
from o3v.video.store import content
from o3v.video.store.content import ContentKeys


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Files that are read to be hashed."""
    files: list[str] = []
    plain = ContentKeys._hashed
    monkeypatch.setattr(ContentKeys, "_hashed", lambda s, p, t: files.append(p) or plain(s, p, t))
    return files


def old_file(path: Path, text: str, age_s: int = 100) -> Path:
    path.write_text(text)
    os.utime(path, (path.stat().st_mtime - age_s,) * 2)
    return path


def test_a_file_is_hashed_once_for_all_processes(tmp_path: Path, hashed: list[str]):
    path = old_file(tmp_path / "a.mp4", "film")
    names = [ContentKeys(tmp_path / "h", "content").name(path) for _ in range(3)]  # each without the others' memory
    assert len(set(names)) == len(hashed) == 1


def test_copies_have_one_name_and_changes_another(tmp_path: Path):
    keys = ContentKeys(tmp_path / "h", "content")
    path, copy = old_file(tmp_path / "a.mp4", "film"), old_file(tmp_path / "b.mp4", "film")
    first = keys.name(path)
    assert keys.name(copy) == first
    old_file(path, "film, changed", 50)
    assert keys.name(path) != first
    old_file(path, "FILM, changed", 40)  # same size, another time
    assert keys.name(path) != first


def test_a_file_in_the_making_is_not_remembered(tmp_path: Path, hashed: list[str]):
    path = tmp_path / "a.mp4"
    path.write_text("film")
    stat = path.stat()
    first = ContentKeys(tmp_path / "h", "content").name(path)
    path.write_text("mlif")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # one tick of a coarse clock
    assert ContentKeys(tmp_path / "h", "content").name(path) != first and len(hashed) == 2


def test_damaged_memory_is_hashed_anew(tmp_path: Path, hashed: list[str]):
    path = old_file(tmp_path / "a.mp4", "film")
    first = ContentKeys(tmp_path / "h", "content").name(path)
    (memory,) = (tmp_path / "h").rglob("*.json")
    for text in ("", "{}", '{"path": 1, "stamp": 2}', "[1]"):
        memory.write_text(text)
        assert ContentKeys(tmp_path / "h", "content").name(path) == first
    assert len(hashed) == 5


def test_by_time_nothing_is_read(tmp_path: Path, hashed: list[str]):
    path = old_file(tmp_path / "a.mp4", "film")
    keys = ContentKeys(tmp_path / "h", "stat")
    first = keys.name(path)
    os.utime(path, (1, 1))
    assert keys.name(path) != first and not hashed and not (tmp_path / "h").exists()


def test_what_cannot_be_named(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"store\.key=md5: allowed are content, stat"):
        ContentKeys(tmp_path, "md5")
    with pytest.raises(MediaError, match="file is missing"):
        ContentKeys(tmp_path, "content").name(tmp_path / "none.mp4")
    with pytest.raises(MediaError, match="not readable"):
        ContentKeys(tmp_path, "content").name(tmp_path)


def test_hashes_that_cannot_be_written_are_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fails(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(content, "write_aside", fails)
    assert len(ContentKeys(tmp_path / "h", "content").name(old_file(tmp_path / "a.mp4", "film"))) == 64
