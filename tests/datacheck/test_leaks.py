"""Train videos that a benchmark asks about: by content, name and id; short names tell nothing."""

from __future__ import annotations

import pytest

from o3v.datacheck.leaks import BLOCK, asked_videos, content_digest, video_id


@pytest.fixture
def asked(tmp_path):
    (tmp_path / "b").mkdir()
    content = bytes(range(256)) * 20
    for name in ("film.mp4", "1.mp4"):
        (tmp_path / "b" / name).write_bytes(content + name.encode())
    paths = [tmp_path / "b" / name for name in ("film.mp4", "1.mp4", "KWZSA.mp4", "v_JOBSEatasv4.mp4", "s1-d2.mp4")]
    return asked_videos({"one": paths, "two": paths[2:3]})


def fact(asked, path, data=None):
    if data is not None:
        path.write_bytes(data)
    found = asked.fact(path, path.stat().st_size if path.exists() else None)
    return None if found is None else found.kind


def test_the_same_content_under_another_name(asked, tmp_path):
    data = (tmp_path / "b" / "film.mp4").read_bytes()
    assert fact(asked, tmp_path / "other.mp4", data) == "leak_content"
    changed = bytearray(data)
    changed[100] ^= 1
    assert fact(asked, tmp_path / "changed.mp4", bytes(changed)) is None


def test_names_and_ids(asked, tmp_path):
    assert fact(asked, tmp_path / "KWZSA.mp4") == "leak_name"
    assert "one, two asks about" in asked.fact(tmp_path / "KWZSA.mp4", None).message
    assert fact(asked, tmp_path / "JOBSEatasv4_10.0_20.0.mp4") == "leak_id"
    assert fact(asked, tmp_path / "1.mp4", b"other") is None
    assert fact(asked, tmp_path / "s1-d2_1_2.mp4") is None
    assert fact(asked, tmp_path / "OTHER.mp4") is None


def test_the_digest_reads_both_ends_and_the_middle(tmp_path):
    data = bytearray(4 * BLOCK)
    path = tmp_path / "a.bin"
    digests = set()
    for place in (None, 0, len(data) // 2, len(data) - 1):
        copy = bytearray(data)
        if place is not None:
            copy[place] = 1
        path.write_bytes(copy)
        digests.add(content_digest(path))
    assert len(digests) == 4
    assert content_digest(tmp_path / "gone") is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("QtWT8rxUuNk.mp4", "QtWT8rxUuNk"),
        ("YI7lQDz_So8_00:01:01:000_00:01:30:300.mp4", "YI7lQDz_So8"),
        ("48552055@N03_8345764421_a2bd133502.mp4", "48552055@N03_8345764421_a2bd133502"),
        ("--0I_t10bJM.mp4", "--0I_t10bJM"),
    ],
)
def test_ids_of_published_names(name, expected):
    assert video_id(name) == expected
