"""Rows and media that hang or crash their worker are counted as that, and the others are read all the same."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from o3v.datacheck import looking
from o3v.datacheck.facts import MediaFacts
from o3v.datacheck.looking import Place, look_at_media, read_rows
from o3v.datacheck.media import look
from o3v.datacheck.memory import Memory
from o3v.datacheck.pool import PoolSettings
from o3v.datacheck.row_reading import read_batch
from o3v.datacheck.row_text import RowText
from tests.datacheck.rows import TEMPORAL, settings
from tests.datacheck.running import quiet

POOL = PoolSettings(2, 1.0, 2.0)


def slow_batch(job):
    """The reader, with a row that takes for ever."""
    if any("for ever" in text for text in job[1]):
        time.sleep(1000)
    return read_batch(job)


def slow_look(job):
    if "hangs" in job.path:
        time.sleep(1000)
    if "crashes" in job.path:
        import os

        os.abort()
    return look(job)


def test_a_row_that_hangs_costs_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(looking, "read_batch", slow_batch)
    questions = ["one", "for ever", "three"]
    texts = [RowText(n, json.dumps(TEMPORAL | {"question": q}), None) for n, q in enumerate(questions, start=1)]
    rows, counts = read_rows(texts, settings(tmp_path), POOL, Memory(None), "", quiet)
    assert [[fact.kind for fact in row.facts] for row in rows] == [[], ["row_time_limit"], []]
    assert counts.looked == 3


def test_media_that_hang_or_crash_are_named_and_looked_at_again(tmp_path, monkeypatch):
    monkeypatch.setattr(looking, "look", slow_look)
    names = ["hangs.mp4", "crashes.mp4", "empty.mp4"]
    places = {name: Place(tmp_path / name, False, None, 0, 0) for name in names}
    places = {str(place.path): place for place in places.values()}
    for path in places:
        Path(path).touch()
    memory = Memory(tmp_path / "memory.sqlite")
    for looked in (3, 2):
        found, counts = look_at_media(places, "ends", None, POOL, memory, "", quiet)
        kinds = {Path(path).name: facts.kind for path, facts in found.items()}
        assert kinds == dict(zip(names, ["media_time_limit", "media_crash", "media_unreadable"], strict=True))
        assert counts.looked == looked
    assert (
        found[str(tmp_path / "hangs.mp4")].fault == f"{tmp_path}/hangs.mp4: not done within 1 s; the worker was killed"
    )
    assert found[str(tmp_path / "empty.mp4")] == MediaFacts(
        f"{tmp_path}/empty.mp4: file is empty", "media_unreadable", 0.0, 0.0, 0, 0, 0
    )


@pytest.mark.parametrize("decode", ["index", "ends", "sampled"])
def test_what_a_film_is(tmp_path, decode):
    from o3v.datacheck.media import MediaJob
    from tests.datacheck.running import budget
    from tests.video.clips import even_times, write_clip

    path = write_clip(tmp_path / "clip.mp4", even_times(50, start_s=0.4))
    found = look(MediaJob(str(path), False, decode, budget().reader.sampling))
    assert (found.fault, found.n_frames, found.width, found.height) == (None, 50, 160, 96)
    assert found.end_s - found.first_s == pytest.approx(2.0, abs=0.01)


def test_a_film_with_a_broken_end_is_found_by_its_last_frame(tmp_path):
    """Looking at the times and the first frame alone does not see it: why `ends` is the default."""
    from o3v.datacheck.media import MediaJob
    from tests.video.clips import even_times, write_clip

    path = write_clip(tmp_path / "clip.mp4", even_times(100), options={"g": "25"})
    data = bytearray(path.read_bytes())
    start, end = data.index(b"mdat"), data.index(b"moov") - 4
    quarter = start + (end - start) // 4
    data[quarter:end] = bytes(end - quarter)
    path.write_bytes(data)
    assert look(MediaJob(str(path), False, "index", None)).fault is None
    assert "cannot be decoded" in (look(MediaJob(str(path), False, "ends", None)).fault or "")
