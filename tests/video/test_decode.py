"""Decoding at wanted times equals sequential decoding, on every kind of container, and damage gets a short name."""

from __future__ import annotations

import os
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from o3v.errors import MediaError
from o3v.video.decode import decode_at, open_video, probe, read_image
from tests.video.clips import bar_code, decode_all, even_times, read_code, turned, uneven_times, write_clip

B_FRAMES = {"g": "12", "bf": "3", "x264-params": "scenecut=0:b-adapt=0"}
OPEN_GOP = {"g": "12", "bf": "3", "x264-params": "scenecut=0:b-adapt=0:open-gop=1"}

CONTAINERS = {
    "cfr_mp4": ("a.mp4", even_times(60), {}),
    "b_frames_mp4": ("a.mp4", even_times(60), {"options": B_FRAMES}),
    "open_gop_mp4": ("a.mp4", even_times(60), {"options": OPEN_GOP}),
    "open_gop_mkv": ("a.mkv", even_times(60), {"options": OPEN_GOP}),
    "intra_only_mp4": ("a.mp4", even_times(20), {"options": {"g": "1"}}),
    "vfr_mp4": ("a.mp4", uneven_times(60), {"options": B_FRAMES}),
    "vfr_mkv": ("a.mkv", uneven_times(60), {"options": B_FRAMES}),
    "offset_mp4": ("a.mp4", even_times(60, start_s=1.5), {"options": B_FRAMES}),
    "offset_mkv": ("a.mkv", even_times(60, start_s=1.5), {"options": B_FRAMES}),
    "mpeg_ts": ("a.ts", even_times(60), {"options": B_FRAMES}),
    "avi": ("a.avi", even_times(40), {"codec": "mpeg4", "options": {"g": "12", "bf": "0"}}),
    "vp9_webm": ("a.webm", even_times(30), {"codec": "libvpx-vp9", "options": {"g": "10", "cpu-used": "8"}}),
    "hevc_10_bit": (
        "a.mkv",
        even_times(24),
        {
            "codec": "libx265",
            "pix_fmt": "yuv420p10le",
            "options": {"preset": "ultrafast", "x265-params": "log-level=0"},
        },
    ),
    "odd_size": ("a.mkv", even_times(20), {"codec": "ffv1", "size_px": (51, 35), "pix_fmt": "yuv444p"}),
    "raw_h264": ("a.h264", even_times(30), {"options": {"g": "10", "bf": "0"}}),
    "one_frame": ("a.mp4", [0.0], {}),
}


@pytest.fixture(params=CONTAINERS)
def clip(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    name, times_s, settings = CONTAINERS[request.param]
    return write_clip(tmp_path / name, times_s, **settings)


def test_every_frame_at_its_time_equals_sequential_decoding(clip: Path):
    truth = decode_all(clip)
    if truth[0][0] is None:  # a raw stream has no times: counted at its declared rate
        truth = [(n / 25, code) for n, (_, code) in enumerate(truth)]
    frames, times_s = decode_at(clip, [t for t, _ in truth])
    assert [read_code(f) for f in frames] == [code for _, code in truth] == list(range(len(truth)))
    assert times_s == pytest.approx([t for t, _ in truth], abs=1e-9)


def test_times_between_frames_give_the_frame_on_the_screen(clip: Path):
    with open_video(clip) as video:
        starts = video.times_s
        ends = np.append(starts[1:], video.index.end_s)
    numbers = list(range(0, len(starts), 7))
    wanted = [float(starts[n] + 0.9 * (ends[n] - starts[n])) for n in numbers]
    frames, times_s = decode_at(clip, wanted)
    assert [read_code(f) for f in frames] == numbers
    assert list(times_s) == [float(starts[n]) for n in numbers]


def test_any_order_and_repeats_give_each_frame_once_ascending(tmp_path: Path):
    path = write_clip(tmp_path / "a.mp4", even_times(30), options=B_FRAMES)
    frames, times_s = decode_at(path, [0.81, 0.0, 0.4, 0.8, 0.43, 0.0])
    assert [read_code(f) for f in frames] == [0, 10, 20]
    assert times_s == (0.0, 0.4, 0.8)


def test_before_the_first_frame_is_the_first_and_after_the_last_the_last(tmp_path: Path):
    path = write_clip(tmp_path / "a.mp4", even_times(25, start_s=1.5))
    assert [read_code(f) for f in decode_at(path, [0.2])[0]] == [0]
    assert [read_code(f) for f in decode_at(path, [3.0])[0]] == [24]
    with pytest.raises(MediaError, match=r"no frame at 9.00 s: the video ends at 2.50 s"):
        decode_at(path, [9.0])
    with pytest.raises(MediaError, match="no frame at nan"):
        decode_at(path, [float("nan")])


def test_probe_tells_length_size_frames_and_rate(tmp_path: Path):
    info = probe(write_clip(tmp_path / "a.mp4", even_times(50, start_s=1.5), size_px=(64, 48)))
    assert (info.size_px, info.n_frames) == ((64, 48), 50)
    assert info.duration_s == pytest.approx(3.5)
    assert info.fps == pytest.approx(25, rel=0.05)


def test_only_the_needed_groups_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write_clip(tmp_path / "a.mp4", even_times(240), options={"g": "12", "bf": "0"})
    import o3v.video.decode as decode

    fed = []
    plain = decode._frames_of
    monkeypatch.setattr(decode, "_frames_of", lambda s, p: fed.append(p) or plain(s, p))
    decode_at(path, [2.0, 9.0])
    assert len(fed) < 40


def test_short_groups_with_reordering_are_reached_by_seeking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write_clip(tmp_path / "a.mp4", even_times(60), options={"g": "2", "bf": "3", "x264-params": "scenecut=0"})
    monkeypatch.delattr("o3v.video.decode.Video._from_start")
    assert [read_code(f) for f in decode_at(path, even_times(60)[1::7])[0]] == list(range(60))[1::7]


def test_frames_that_do_not_decode_give_the_one_before_once_or_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = write_clip(tmp_path / "a.mkv", even_times(100))
    import o3v.video.decode as decode

    plain = decode._frames_of
    monkeypatch.setattr(decode, "_frames_of", lambda s, p: [f for f in plain(s, p) if f.time <= 1.0 or f.time > 3.5])
    frames, times_s = decode_at(path, [0.4, 1.0, 1.2, 1.6, 3.8])
    assert ([read_code(f) for f in frames], times_s) == ([10, 25, 95], (0.4, 1.0, 3.8))
    with pytest.raises(MediaError, match=r"the frame at 2\.40 s cannot be decoded"):
        decode_at(path, [2.4])


@pytest.mark.parametrize(
    ("matrix", "clockwise_turns"), [((0, 1, -1, 0), 1), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 3), ((1, 0, 0, 1), 0)]
)
def test_rotation_is_applied(tmp_path: Path, matrix: tuple[int, int, int, int], clockwise_turns: int):
    path = turned(write_clip(tmp_path / "a.mp4", even_times(5), options={"crf": "1"}), matrix)
    expected = np.rot90(bar_code(3), -clockwise_turns)
    frames, _ = decode_at(path, [0.12])
    assert frames[0].shape == expected.shape
    assert np.abs(frames[0].astype(int) - expected).mean() < 12
    assert probe(path).size_px == (expected.shape[1], expected.shape[0])


def write_audio(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono")
        frame.rate, frame.pts = 16000, 0
        container.mux(stream.encode(frame) + stream.encode(None))
    return path


def test_what_is_no_video_is_a_media_error_with_a_short_reason(tmp_path: Path):
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "zeros.mp4").write_bytes(bytes(5000))
    (tmp_path / "text.mp4").write_text("this is no video\n" * 50)
    (tmp_path / "notes.txt").write_text("this is no video\n" * 50)
    os.mkfifo(tmp_path / "pipe.mp4")
    write_audio(tmp_path / "sound.mp4")
    reasons = {
        "empty.mp4": "file is empty",
        "zeros.mp4": "not a readable video",
        "text.mp4": "not a readable video",
        "notes.txt": "not a",
        "pipe.mp4": "not a file",
        "missing.mp4": "file is missing",
        "sound.mp4": "no video stream",
        ".": "not a file",
    }
    for name, reason in reasons.items():
        with pytest.raises(MediaError) as caught:
            probe(tmp_path / name)
        assert caught.value.reason.startswith(reason), name
        assert len(caught.value.reason) < 60


def cut(path: Path, share: float) -> Path:
    """Keep the first part of a file."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.ts"])
def test_a_cut_file_gives_the_frames_that_are_there(tmp_path: Path, name: str):
    options = {"g": "12", "bf": "2"} | ({"movflags": "faststart"} if name == "a.mp4" else {})
    path = cut(faststart(write_clip(tmp_path / name, even_times(100), options=options)), 0.6)
    with open_video(path) as video:
        end_s = float(video.times_s[-1])
        assert 0.5 < end_s < 3.9
        pairs = list(video.frames_at([0.0, end_s / 2, end_s]))
    start_s = pairs[0][0]
    for time_s, frame in pairs:
        assert read_code(frame) == round((time_s - start_s) * 25)
    assert len(pairs) == 3 or name != "a.mkv"
    with pytest.raises(MediaError):
        decode_at(path, [20.0])


def faststart(path: Path) -> Path:
    """Rewrite an mp4 with its table of contents in front, so that a cut file can still be opened."""
    if path.suffix != ".mp4":
        return path
    target = path.with_name("fast.mp4")
    with av.open(str(path)) as source, av.open(str(target), "w", options={"movflags": "faststart"}) as sink:
        stream = sink.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                sink.mux(packet)
    return target


def test_damage_in_the_middle_gives_right_frames_or_an_error(tmp_path: Path):
    path = write_clip(tmp_path / "a.mkv", even_times(100), options={"g": "10", "bf": "0"})
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 400] = bytes(400)
    path.write_bytes(data)
    for wanted_s in (0.0, 1.0, 3.9):
        try:
            _, times_s = decode_at(path, [wanted_s])
        except MediaError:
            continue
        assert times_s[0] <= wanted_s
        assert wanted_s - times_s[0] <= 1.0
    assert read_code(decode_at(path, [0.4])[0][0]) == 10


def test_an_mp4_without_its_table_of_contents_is_a_media_error(tmp_path: Path):
    with pytest.raises(MediaError, match="not a readable video"):
        probe(cut(write_clip(tmp_path / "a.mp4", even_times(30)), 0.5))


def test_read_image_turns_by_exif_and_names_damage(tmp_path: Path):
    image = Image.fromarray(bar_code(5))
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a clockwise quarter turn
    image.save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "a.png"), np.rot90(bar_code(5), -1))
    Image.fromarray(bar_code(5)).convert("P").save(tmp_path / "p.png")
    assert read_image(tmp_path / "p.png").shape == (96, 160, 3)
    (tmp_path / "text.jpg").write_text("no image")
    cut_png = tmp_path / "cut.png"
    cut_png.write_bytes((tmp_path / "a.png").read_bytes()[:150])
    for name, reason in {
        "text.jpg": "not a readable image",
        "cut.png": "not a readable",
        "none.jpg": "missing",
    }.items():
        with pytest.raises(MediaError, match=reason):
            read_image(tmp_path / name)
