"""A sample becomes a clip: true times, key frames among them, one size, within the token budget."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from o3v.errors import ConfigError, MediaError
from o3v.types import KeyFrame, Sample, Task
from o3v.video.reader import ClipReader
from o3v.video.sampling import FrameSampling
from tests.video.clips import bar_code, even_times, read_code, turned, write_clip

READER = ClipReader(
    sampling=FrameSampling(max_frames=8, min_frames=4, fps=2.0, insert_key_frames=True),
    min_pixels=28 * 28,
    max_pixels=128 * 28 * 28,
    image_max_pixels=256 * 28 * 28,
    max_total_tokens=4096,
)


def sample(video: Path | None, image: Path | None = None, keys_s: tuple[float, ...] = ()) -> Sample:
    return Sample(
        id="s1",
        source="STR_coin",
        task=Task.TEMPORAL_SPATIAL,
        question="?",
        answer="",
        reasoning="",
        video_path=video,
        image_path=image,
        key_frames=tuple(KeyFrame(t, {}, None) for t in keys_s),
        span_s=None,
        box=None,
        letter=None,
    )


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "a.mp4", even_times(101), options={"g": "24", "bf": "2"})


def test_a_video_gives_an_even_spread_and_its_key_frames_at_true_times(video: Path):
    clip = READER.read(sample(video, keys_s=(3.3, 1.01)), factor=28)
    numbers = [0, 14, 25, 29, 43, 57, 71, 82, 86, 100]
    assert [read_code(frame) for frame in clip.frames] == numbers
    assert clip.times_s == pytest.approx([n / 25 for n in numbers], abs=1e-3)
    assert clip.duration_s == pytest.approx(4.04, abs=1e-3)
    assert (clip.size_px, clip.original_size_px) == ((168, 84), (160, 96))


def test_key_frames_can_be_left_out(video: Path):
    quiet = replace(READER, sampling=replace(READER.sampling, insert_key_frames=False))
    clip = quiet.read(sample(video, keys_s=(1.01, 99.0)), factor=28)
    assert [read_code(frame) for frame in clip.frames] == [0, 14, 29, 43, 57, 71, 86, 100]


def test_a_key_frame_outside_the_video_is_a_fault(video: Path):
    with pytest.raises(MediaError, match=r"no frame at 9\.00 s: the video ends at 4\.04 s"):
        READER.read(sample(video, keys_s=(9.0,)), factor=28)


def test_the_token_budget_drops_frames_but_not_the_key_frames(video: Path):
    tokens = 6 * 3
    clip = replace(READER, max_total_tokens=4 * tokens).read(sample(video, keys_s=(3.3, 1.01)), factor=28)
    assert [read_code(frame) for frame in clip.frames] == [0, 25, 82, 100]
    with pytest.raises(ConfigError, match="max_total_tokens"):
        replace(READER, max_total_tokens=tokens - 1).read(sample(video), factor=28)


def test_an_image_is_one_frame_without_a_time(tmp_path: Path):
    path = tmp_path / "a.png"
    Image.fromarray(bar_code(5, 640, 480)).save(path)
    clip = READER.read(sample(None, path), factor=32)
    assert clip.frames.shape == (1, 384, 512, 3) or clip.frames.shape[1] * clip.frames.shape[2] <= 256 * 28 * 28
    assert (clip.times_s, clip.duration_s, clip.original_size_px) == ((), 0.0, (640, 480))
    assert clip.frames.shape[1] % 32 == clip.frames.shape[2] % 32 == 0


def test_a_turned_video_is_measured_upright(video: Path):
    clip = READER.read(sample(turned(video, (0, 1, -1, 0))), factor=28)
    assert clip.original_size_px == (96, 160)
    assert clip.size_px == (84, 168)


def test_one_frame_is_enough(tmp_path: Path):
    clip = READER.read(sample(write_clip(tmp_path / "a.mp4", [0.0]), keys_s=(0.5,)), factor=28)
    assert clip.times_s == (0.0,)


def test_what_cannot_be_read_is_a_media_error(tmp_path: Path):
    thin = tmp_path / "thin.png"
    Image.fromarray(np.zeros((2, 900, 3), dtype=np.uint8)).save(thin)
    with pytest.raises(MediaError, match="aspect ratio of 900x2 px"):
        READER.read(sample(None, thin), factor=28)
    with pytest.raises(MediaError, match="neither a video nor an image"):
        READER.read(sample(None), factor=28)
    with pytest.raises(MediaError, match="file is missing"):
        READER.read(sample(tmp_path / "none.mp4"), factor=28)


def test_the_reader_travels_to_workers():
    assert pickle.loads(pickle.dumps(READER)) == READER


def test_an_empty_window_of_sizes_is_named():
    with pytest.raises(ConfigError, match=r"reader\.min_pixels=100, reader\.max_pixels=50"):
        replace(READER, min_pixels=100, max_pixels=50)


# ---- a part of a file


def part(path: Path, part_s: tuple[float, float], keys_s: tuple[float, ...] = ()):
    return READER.read_video(path, keys_s, 28, part_s)


def test_a_part_gives_its_frames_at_times_from_its_start(video: Path):
    clip = part(video, (1.0, 3.0))
    numbers = [read_code(frame) for frame in clip.frames]
    assert numbers[0] == 25 and numbers[-1] == 74  # the frame at 3.0 s belongs to what follows
    assert clip.times_s == pytest.approx([n / 25 - 1.0 for n in numbers], abs=1e-3)
    assert clip.duration_s == pytest.approx(2.0) and len(numbers) == 4


def test_a_part_may_pass_the_end_and_the_whole_is_a_part(video: Path):
    clip = part(video, (3.0, 99.0))
    assert clip.duration_s == pytest.approx(1.04, abs=1e-3) and read_code(clip.frames[-1]) == 100
    whole, same = READER.read_video(video, (), 28, None), part(video, (0.0, 99.0))
    assert whole.times_s == same.times_s and np.array_equal(whole.frames, same.frames)


def test_key_frames_of_a_part_count_from_its_start(video: Path):
    clip = part(video, (1.0, 3.0), keys_s=(0.5,))
    assert 37 in [read_code(frame) for frame in clip.frames]


def test_a_part_between_two_frames_shows_the_one_on_the_screen(tmp_path: Path):
    path = write_clip(tmp_path / "slow.mp4", [0.0, 2.0, 4.0])
    clip = part(path, (2.5, 3.5))
    assert [read_code(frame) for frame in clip.frames] == [1] and clip.times_s == (0.0,)


@pytest.mark.parametrize("part_s", [(5.0, 6.0), (2.0, 2.0), (3.0, 2.0), (-1.0, 2.0), (float("nan"), 2.0)])
def test_a_part_that_is_not_there_is_a_media_error(video: Path, part_s):
    with pytest.raises(MediaError, match=r"no part from .* the video ends at 4\.04 s"):
        part(video, part_s)
