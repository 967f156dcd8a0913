"""Damage of every kind: each damaged row and file is accounted for, the good ones are kept, nothing crashes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from o3v.data.rows import RowError, read_row
from o3v.datacheck.damage import FILE_DAMAGES, ROW_DAMAGES, damage_row
from o3v.datacheck.made import write_made
from o3v.datacheck.pool import PoolSettings
from o3v.datacheck.row_reading import read_facts
from o3v.datacheck.trial import try_files, try_rows
from tests.datacheck.rows import GOOD, SPATIAL, settings
from tests.video.clips import even_times, write_clip

POOL = PoolSettings(2, 20.0, 2.0)


def films(folder):
    """Good files of several containers and codecs, and two images."""
    folder.mkdir()
    times = even_times(20)
    made = [
        write_clip(folder / "a.mp4", times),
        write_clip(folder / "b.mkv", times, codec="mpeg4"),
        write_clip(folder / "c.avi", times, codec="mjpeg", pix_fmt="yuvj420p"),
        write_clip(folder / "d.ts", times),
        write_clip(folder / "e.mp4", times, options={"bf": "2", "g": "5"}),
    ]
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (96, 160, 3), dtype=np.uint8))
    for name in ("f.jpg", "g.png"):
        picture.save(folder / name)
        made.append(folder / name)
    return made


def check_rows(count, tmp_path):
    rows = [*GOOD, SPATIAL | {"reasoning_process": ""}]
    found = try_rows(rows, count, settings(tmp_path), POOL, tmp_path / "rows.json")
    assert (found.accounted, found.lost) == (count, 0)
    assert "row_time_limit" not in found.counted_as, "a row ended its worker"
    assert sum(found.counted_as.values()) == count
    assert found.counted_as["broken_json"] > 0.2 * count and found.counted_as["unreadable"] > 0.1 * count
    assert set(found.damages) == set(ROW_DAMAGES)


def check_files(count, tmp_path):
    found = try_files(films(tmp_path / "good"), count, POOL, tmp_path / "damaged")
    assert (found.accounted, found.lost) == (count, 0)
    assert sum(found.counted_as.values()) == count
    assert set(found.counted_as) <= {"fine", "media_unreadable", "media_time_limit", "media_crash"}
    assert found.counted_as["media_unreadable"] > 0.2 * count
    assert set(found.damages) == set(FILE_DAMAGES)


def test_some_hundred_rows(tmp_path):
    check_rows(400, tmp_path)


def test_a_hundred_files(tmp_path):
    check_files(100, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_ten_thousand_rows(tmp_path):
    check_rows(10_000, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_thousand_files(tmp_path):
    check_files(1000, tmp_path)


def test_training_reads_damaged_rows_without_a_crash_too(tmp_path):
    """In this process, so that any other error than the row's own shows."""
    rng = np.random.default_rng(5)
    for number in range(1500):
        _, data = damage_row(GOOD[number % len(GOOD)], rng)
        text = data.decode("utf-8", "replace")
        assert read_facts(text, settings(tmp_path)) is not None
        try:
            row = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict):
            try:
                read_row(row, "x", tmp_path)
            except RowError as error:
                assert str(error)


def test_the_generated_data_set_has_no_fault(tmp_path):
    from tests.datacheck.running import run

    file = write_made(tmp_path, 60, 12, 0)
    assert write_made(tmp_path, 60, 12, 0) == file
    outcome = run(tmp_path, file)
    assert outcome.findings == [] and len(outcome.rows) == 60 and outcome.media_counts.looked == 12
    contents = {path.read_bytes() for path in (tmp_path / "videos").rglob("*.*")}
    assert len(contents) == 12
