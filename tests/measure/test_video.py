"""The measurement of decoding: its films, its verdict on wrong frames and times, its command."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

import o3v.measure.video_rivals as rivals
from o3v.bench_video import measure_video
from o3v.errors import ConfigError
from o3v.measure.video import Run, compare, ratio, sample_once, summary
from o3v.measure.video_films import Film, make_film, pictures, read_number
from o3v.measure.video_report import show, write
from o3v.measure.video_rivals import present, read_o3v
from o3v.video.decode import decode_at, open_video
from tests.commands import composed

FILM = Film(length_s=4, size_px=(320, 180), fps=10, gop=10, segment_s=2)


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    return make_film(FILM, tmp_path_factory.mktemp("films"))


def test_a_repeated_film_is_one_film(path: Path):
    with open_video(path) as video:
        assert np.allclose(video.times_s, np.arange(40) / 10) and video.index.end_s == pytest.approx(4)
        assert len(video.index.key_pts) == 4
    frames, _ = decode_at(path, [n / 10 for n in range(40)])
    assert [read_number(frame) for frame in frames] == [FILM.number(n) for n in range(40)] == [*range(20)] * 2
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    before = path.stat().st_mtime_ns
    assert make_film(FILM, path.parent).stat().st_mtime_ns == before


def test_numbers_are_read_at_every_size():
    for size in ((320, 180), (640, 360), (1280, 720)):
        shown = [read_number(frame) for frame in pictures(size, 3)]
        assert shown == [0, 1, 2]


def test_wrong_frames_and_times_are_seen(path: Path):
    right = sample_once(read_o3v, FILM, path, 5)
    assert (right.wrong_frames, right.worst_time_error_s) == (0, pytest.approx(0, abs=1e-9))

    def one_off(file, times_s, fps):
        frames, _ = read_o3v(file, [min(t + 0.1, 3.9) for t in times_s], fps)
        return [*frames, frames[-1]][: len(times_s)], tuple(t + 0.3 for t in times_s)

    wrong = sample_once(one_off, FILM, path, 4)
    assert wrong.wrong_frames >= 3 and wrong.worst_time_error_s == pytest.approx(0.3)


def test_readers_take_turns_and_the_first_round_does_not_count(path: Path):
    called: list[str] = []

    def named(name: str):
        return lambda *a: called.append(name) or read_o3v(*a)

    runs = compare({"o3v": named("o3v"), "b": named("b")}, FILM, path, 2, repeats=3, budget_s=99)
    assert [len(own) for own in runs.values()] == [3, 3]
    assert called == ["o3v", "b", "b", "o3v", "o3v", "b", "b", "o3v"]
    assert len(compare({"o3v": read_o3v}, FILM, path, 2, repeats=9, budget_s=0)["o3v"]) == 3


def test_ratios_are_paired_by_round():
    runs = {"o3v": [Run(1, 1, 0, 0), Run(10, 1, 0, 0)], "b": [Run(2, 1, 0.1, 0), Run(20, 1, 0, 3)]}
    row = summary(runs)["b"]
    assert row["wall_over_o3v"] == pytest.approx({"mean": 2, "low": 2, "high": 2})
    assert (row["worst_time_error_s"], row["wrong_frames"]) == (0.1, 3)
    wide = ratio([1.0, 4.0])
    assert wide["mean"] == pytest.approx(2) and wide["low"] < 1e-2 and ratio([3.0])["high"] == math.inf


def test_a_missing_reader_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(rivals.READERS, "decord", (rivals.read_decord, "no_such_module", "decord"))
    found, missing = present(["o3v", "decord"])
    assert list(found) == ["o3v"] and "no_such_module" in missing["decord"]
    with pytest.raises(ConfigError, match="allowed are"):
        present(["o3v", "ffmpeg"])
    with pytest.raises(ConfigError, match="o3v among them"):
        present(["decord"])


def test_from_configuration_to_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    small = ("lengths_s=[2]", "frames=[3]", "size_px=[320,180]", "fps=10", "gop=10", "repeats=2", "readers=[o3v]")
    cfg = composed("bench_video", tmp_path, *small, "store_size_px=[320,180]", "store_repeats=2")
    result = measure_video(cfg)
    file = write(result, Path(cfg.out), ["python"], cfg.readers)
    kept = json.loads(file.read_text())
    assert kept["cases"]["2s-3"]["readers"]["o3v"]["wrong_frames"] == 0
    assert kept["store"]["size_px"] == [320, 180] and kept["store"]["decode_over_read"]["mean"] > 1
    write({**result, "cases": {"other": result["cases"]["2s-3"]}, "store": None}, Path(cfg.out), ["x"], cfg.readers)
    assert set(json.loads(file.read_text())["cases"]) == {"2s-3", "other"}
    show(result)
    assert "warm store: 16 frames of [320, 180]" in capsys.readouterr().out
