"""The index knows which frame is on the screen at a time, and from which keyframe it can be decoded."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from o3v.video.decode import open_video
from o3v.video.index import FrameIndex
from tests.video.clips import even_times, read_code, write_clip

# 10 ticks a second; the second group is open: its leading pictures 35 and 38 are shown before its keyframe 40.
INDEX = FrameIndex(
    pts=np.array([15, 20, 30, 35, 38, 40, 50]),
    key_pts=np.array([15, 40]),
    end_pts=55,
    time_base=Fraction(1, 10),
    seekable=True,
)


@pytest.mark.parametrize(
    ("time_s", "pts"),
    [(0.0, 15), (1.5, 15), (1.94, 15), (1.96, 20), (2.0, 20), (2.94, 20), (3.0, 30), (4.9, 40), (5.0, 50), (99.0, 50)],
)
def test_the_frame_on_the_screen_is_the_last_one_begun_and_not_the_nearest(time_s: float, pts: int):
    assert INDEX.pts_at(time_s) == pts


def test_leading_pictures_of_an_open_group_are_decoded_from_the_group_before():
    assert [INDEX.key_before(pts) for pts in (0, 15, 30, 38, 40, 50)] == [0, 0, 0, 0, 1, 1]


def test_times_are_the_containers_seconds():
    assert INDEX.times_s.tolist() == [1.5, 2.0, 3.0, 3.5, 3.8, 4.0, 5.0]
    assert INDEX.end_s == 5.5


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_an_open_video_can_be_read_again_after_its_end(tmp_path: Path, name: str):
    with open_video(write_clip(tmp_path / name, even_times(40), options={"g": "10", "bf": "2"})) as video:
        times_s = video.times_s
        for number in (39, 0, 39, 17, 3):
            assert [read_code(frame) for _, frame in video.frames_at([times_s[number]])] == [number]
