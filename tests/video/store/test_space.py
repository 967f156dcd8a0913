"""The limit holds, the longest unused goes first, and leftovers of crashed processes are cleared."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from o3v.video.store.claims import place
from o3v.video.store.space import ABANDONED_S, Space


def entry(root: Path, name: str, n_bytes: int, age_s: float) -> Path:
    path = root / name[:2] / f"{name}.clip"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(n_bytes))
    os.utime(path, (time.time() - age_s,) * 2)
    return path


def names(root: Path) -> list[str]:
    return sorted(path.stem for path in root.rglob("*.clip"))


def test_the_longest_unused_goes_first(tmp_path: Path):
    for name, age_s in (("aa", 30), ("bb", 50), ("cc", 10), ("dd", 40)):
        entry(tmp_path, name, 100, age_s)
    cleared = Space(tmp_path, 450, 0, 0).make_room(100)
    assert (cleared.fits, cleared.entries, cleared.n_bytes) == (True, 1, 100)
    assert names(tmp_path) == ["aa", "cc", "dd"]


def test_what_was_used_lately_stays_and_the_store_is_full(tmp_path: Path):
    for name, age_s in (("aa", 30), ("bb", 50)):
        entry(tmp_path, name, 100, age_s)
    space = Space(tmp_path, 250, 0, keep_used_s=40)
    assert space.make_room(100).fits and names(tmp_path) == ["aa"]
    entry(tmp_path, "cc", 100, 0)
    assert not space.make_room(100).fits and names(tmp_path) == ["aa", "cc"]
    assert not space.make_room(1).fits  # not listed again for some time


def test_a_second_epoch_over_more_than_fits_still_hits(tmp_path: Path):
    """With plain least-recently-used order every clip would be evicted just before it is wanted."""
    hits = {}
    for name, keep_used_s in (("kept", 3600.0), ("plain", 0.0)):
        root = tmp_path / name
        root.mkdir()
        space, hits[name] = Space(root, 500, 0, keep_used_s), 0
        for step in range(20):
            clip = f"{step % 10:02d}"
            if clip in names(root):
                hits[name] += 1
                os.utime(root / clip / f"{clip}.clip")
            elif space.make_room(100).fits:
                entry(root, clip, 100, 0)
    assert hits == {"kept": 5, "plain": 0}


def test_an_entry_above_the_limit_is_not_taken(tmp_path: Path):
    entry(tmp_path, "aa", 100, 10)
    assert not Space(tmp_path, 500, 0, 0).make_room(501).fits and names(tmp_path) == ["aa"]


def test_a_full_disk_takes_nothing(tmp_path: Path):
    entry(tmp_path, "aa", 100, 10)
    space = Space(tmp_path, 10**15, 10**15, keep_used_s=3600)
    assert not space.make_room(100).fits and names(tmp_path) == ["aa"]


def test_own_entries_count_without_listing_again(tmp_path: Path):
    space = Space(tmp_path, 350, 0, 0)
    tmp_path.joinpath("00").mkdir()
    for number in range(20):
        cleared = space.make_room(100)
        assert cleared.fits
        entry(tmp_path, f"{number:02d}", 100, 60 - number)
        assert 100 * len(names(tmp_path)) <= 350


def test_what_others_wrote_is_seen_near_the_limit_and_not_asked_for_far_from_it(tmp_path: Path, monkeypatch):
    listed: list[int] = []
    plain = Space._listed
    monkeypatch.setattr(Space, "_listed", lambda s: listed.append(1) or plain(s))
    monkeypatch.setattr("o3v.video.store.space.LISTED_S", -1.0)
    far, near = Space(tmp_path, 10**9, 0, 0), Space(tmp_path, 1000, 0, 0)
    for _ in range(20):
        assert far.make_room(100).fits
    assert len(listed) == 1
    assert near.make_room(100).fits
    entry(tmp_path, "aa", 950, 50)  # another process
    assert near.make_room(100).entries == 1 and names(tmp_path) == []


def test_leftovers_are_cleared_and_the_living_left_alone(tmp_path: Path):
    folder = tmp_path / "aa"
    folder.mkdir()
    dead = {"place": place(), "pid": 1, "born": "no such"}
    old = time.time() - ABANDONED_S - 10
    for name, text, changed_s in (
        (".old.tmp", "", old),
        (".new.tmp", "", time.time()),
        ("dead.claim", json.dumps(dead), time.time()),
        ("away.claim", json.dumps(dead | {"place": "another machine"}), time.time()),
        ("silent.claim", "", old),
    ):
        (folder / name).write_text(text)
        os.utime(folder / name, (changed_s, changed_s))
    assert Space(tmp_path, 1000, 0, 0).make_room(10).fits
    assert sorted(file.name for file in folder.iterdir()) == [".new.tmp", "away.claim"]


def test_a_mapped_clip_outlives_its_eviction(tmp_path: Path):
    from o3v.video.store.entry import read_entry, write_entry
    from tests.video.store.stores import clip, equal

    path = tmp_path / "aa" / "aa.clip"
    write_entry(path, clip(n_frames=20), 0.0)
    mapped = read_entry(path, True).clip
    assert Space(tmp_path, path.stat().st_size + 10, 0, 0).make_room(1000).entries == 1
    assert not path.exists() and equal(mapped, clip(n_frames=20))
