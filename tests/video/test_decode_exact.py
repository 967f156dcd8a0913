"""Frames equal those of a full decode bit for bit, at random times, however they are reached."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import o3v.video.decode as decode
from o3v.errors import MediaError
from o3v.video.decode import decode_at, open_video
from tests.video.clips import even_times, uneven_times, write_clip

X264 = "scenecut=0:b-adapt=0"
FILMS = {
    "cfr": ("a.mp4", even_times(120), {"options": {"g": "24", "bf": "3", "x264-params": X264}}),
    "pyramid_vfr": ("b.mkv", uneven_times(120), {"options": {"g": "30", "bf": "7", "x264-params": X264}}),
    "open_gop": ("c.mp4", even_times(120), {"options": {"g": "24", "bf": "3", "x264-params": f"{X264}:open-gop=1"}}),
    "offset": ("d.mp4", even_times(120, start_s=1.5), {"options": {"g": "24", "bf": "2", "x264-params": X264}}),
    "ten_bit": (
        "e.mkv",
        even_times(60),
        {"pix_fmt": "yuv420p10le", "options": {"g": "24", "bf": "3", "x264-params": X264}},
    ),
    "interlaced": ("f.mp4", even_times(60), {"options": {"g": "24", "bf": "3", "x264-params": f"{X264}:tff=1"}}),
    "weighted": ("g.mp4", even_times(96), {"options": {"g": "32", "bf": "3", "refs": "5", "x264-params": "weightb=1"}}),
    "no_reordering_told": ("h.mkv", even_times(60), {"options": {"g": "24", "bf": "3", "bluray-compat": "1"}}),
    "hevc": (
        "i.mp4",
        even_times(60),
        {"codec": "libx265", "options": {"preset": "ultrafast", "x265-params": "log-level=0:keyint=24:bframes=4"}},
    ),
}


@pytest.fixture(scope="module", params=FILMS)
def film(request: pytest.FixtureRequest, tmp_path_factory) -> tuple[Path, list[tuple[float, np.ndarray]]]:
    name, times_s, settings_ = FILMS[request.param]
    path = write_clip(tmp_path_factory.mktemp("films") / name, times_s, **settings_)
    with av.open(str(path)) as container:
        return path, [(f.time, f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_random_times_give_the_frames_of_a_full_decode(film, data: st.DataObject):
    path, truth = film
    starts = np.array([time_s for time_s, _ in truth])
    end_s = float(starts[-1] + 0.03)
    wanted_s = data.draw(st.lists(st.floats(0, end_s), min_size=1, max_size=12))
    frames, times_s = decode_at(path, wanted_s, threads=data.draw(st.sampled_from([1, 2, 3])))
    with open_video(path) as video:
        numbers = sorted({int(np.searchsorted(starts, video.shown_at(t) + 1e-9) - 1) for t in wanted_s})
    assert times_s == pytest.approx([starts[n] for n in numbers], abs=1e-9)
    assert all(np.array_equal(frame, truth[n][1]) for frame, n in zip(frames, numbers, strict=True))


def test_threads_give_the_same_frames(film, monkeypatch: pytest.MonkeyPatch):
    path, truth = film
    monkeypatch.setattr(decode, "LONG_WORK_PX", 0)
    wanted_s = [time_s for time_s, _ in truth[::5]]
    alone, together = decode_at(path, wanted_s, threads=1), decode_at(path, wanted_s, threads=3)
    assert alone[1] == together[1]
    assert all(np.array_equal(a, b) for a, b in zip(alone[0], together[0], strict=True))


def test_frames_that_nothing_refers_to_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    name, times_s, settings_ = FILMS["cfr"]
    path = write_clip(tmp_path / name, times_s, **settings_)
    came: list[int] = []
    plain = decode._frames_of
    monkeypatch.setattr(decode, "_frames_of", lambda s, p: came.extend([1] * len(f := plain(s, p))) or f)
    decode_at(path, [0.92], threads=1)
    thrifty, came[:] = len(came), []
    monkeypatch.setattr(decode, "THRIFTY_CODECS", frozenset())
    decode_at(path, [0.92], threads=1)
    assert 0 < thrifty < 0.7 * len(came)


def test_where_leaving_out_fails_the_group_is_decoded_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A decoder that would drop the wanted frame too: the second pass gets it, without a decode of the whole file."""
    name, times_s, settings_ = FILMS["cfr"]
    path = write_clip(tmp_path / name, times_s, **settings_)
    plain, thrifty = decode._decoded, []

    def drops(container, stream, only=None):
        thrifty.append(only is not None)
        yield from plain(container, stream, frozenset() if only is not None else None)

    monkeypatch.setattr(decode, "_decoded", drops)
    monkeypatch.delattr("o3v.video.decode.Video._from_start")
    with open_video(path, threads=1) as video:
        pairs = list(video.frames_at([0.04, 0.08, 0.12, 1.64]))
    assert [time_s for time_s, _ in pairs] == [0.04, 0.08, 0.12, 1.64] and True in thrifty and False in thrifty


def test_a_cut_film_in_threads_gives_what_is_there_or_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write_clip(tmp_path / "a.mkv", even_times(120), options={"g": "24", "bf": "3", "x264-params": X264})
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 900] = bytes(900)
    path.write_bytes(data)
    monkeypatch.setattr(decode, "LONG_WORK_PX", 0)
    for threads in (1, 3):
        try:
            _, times_s = decode_at(path, [0.0, 1.0, 2.0, 3.0, 4.0], threads)
        except MediaError:
            continue
        assert list(times_s) == sorted(set(times_s))


def test_packets_without_end_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write_clip(tmp_path / "a.mp4", even_times(30))
    monkeypatch.setattr("o3v.video.index.LONGEST_S", -1.0)
    with pytest.raises(MediaError, match="reading it took more than"):
        decode_at(path, [0.0])


def test_a_search_that_takes_too_long_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The limit reaches FFmpeg's own reading, inside one call."""
    path = write_clip(tmp_path / "a.mp4", even_times(30))
    monkeypatch.setattr(decode, "STUCK_S", 1e-9)
    with pytest.raises(MediaError, match="not a readable video"):
        decode_at(path, [0.0])
