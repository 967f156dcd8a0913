"""Written films: what is read back, exact times, determinism, and what cannot be written."""

import av
import numpy as np
import pytest

from o3v.data.shapes import render
from o3v.errors import StorageError
from o3v.video.encode import write_video
from tests.data.worlds import FULL


def frames(n=8, height=84, width=84):
    ramp = np.arange(n, dtype=np.uint8)[:, None, None, None] * 20
    return np.broadcast_to(ramp, (n, height, width, 3)).copy()


def read(path):
    with av.open(str(path)) as container:
        decoded = list(container.decode(video=0))
        sound = len(container.streams.audio)
    return (
        np.stack([f.to_ndarray(format="rgb24") for f in decoded]),
        [float(f.pts * f.time_base) for f in decoded],
        sound,
    )


@pytest.mark.parametrize("fps", [1, 0.5, 25, 29.97])
def test_frames_and_times_come_back(tmp_path, fps):
    write_video(tmp_path / "deep" / "a.mp4", frames(), fps)
    found, times_s, sound = read(tmp_path / "deep" / "a.mp4")
    assert found.shape == (8, 84, 84, 3) and sound == 0
    assert np.abs(found.astype(int) - frames()).max() <= 3
    assert times_s == pytest.approx([k / fps for k in range(8)], abs=1e-4)
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["a.mp4"]


@pytest.mark.parametrize("size", [(85, 84), (84, 83), (1, 1), (57, 91)])
def test_odd_sizes_are_padded(tmp_path, size):
    write_video(tmp_path / "a.mp4", frames(2, *size), 1)
    found, _, _ = read(tmp_path / "a.mp4")
    assert found.shape[1:3] == tuple(side + side % 2 for side in size)


def test_the_same_frames_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_video(tmp_path / f"{name}.mp4", iter(frames()), 1, crf=20, gop=4)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_gop_sets_the_key_frames(tmp_path):
    write_video(tmp_path / "a.mp4", frames(9), 1, gop=3)
    with av.open(str(tmp_path / "a.mp4")) as container:
        keys = sorted(p.pts for p in container.demux(video=0) if p.is_keyframe and p.pts is not None)
        assert len(keys) >= 3


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (frames(0), "no frame"),
        (frames().astype(np.float32), "frame 0"),
        ([frames()[0], frames(1, 42, 42)[0]], "frame 1"),
    ],
)
def test_wrong_frames_are_told_and_leave_no_file(tmp_path, wrong, message):
    with pytest.raises(ValueError, match=message):
        write_video(tmp_path / "a.mp4", wrong, 1)
    assert list(tmp_path.iterdir()) == []


def test_fps_and_place_are_checked(tmp_path):
    with pytest.raises(ValueError, match="fps=0"):
        write_video(tmp_path / "a.mp4", frames(), 0)
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"file/a\.mp4"):
        write_video(tmp_path / "file" / "a.mp4", frames(), 1)


def test_bytes_do_not_depend_on_what_memory_held_before(tmp_path):
    """With x264's macroblock tree one film in 15 differed; 60 equal ones would then be a chance of 2 %."""
    rng = np.random.default_rng(0)
    film = np.pad(render(FULL, FULL.scene(0)), ((0, 0), (0, 12), (0, 12), (0, 0)), mode="edge")
    seen = set()
    for _ in range(60):
        _ = [rng.integers(0, 255, rng.integers(1, 60_000), dtype=np.uint8) for _ in range(4)]
        write_video(tmp_path / "a.mp4", film, 1)
        seen.add((tmp_path / "a.mp4").read_bytes())
    assert len(seen) == 1
