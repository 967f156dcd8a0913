"""Planned times are true times: even, in order, key frames merged; the reference's labels corrected."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from o3v.errors import ConfigError
from o3v.video.sampling import FrameSampling, even_spread, frame_on_screen

GOLDEN = Path(__file__).parents[3] / "shared" / "golden"
needs_golden = pytest.mark.skipif(not GOLDEN.exists(), reason="golden vectors of the reference are not on this machine")
PAPER = FrameSampling(max_frames=16, min_frames=4, fps=2.0, insert_key_frames=True)


def read_lines(name: str) -> list[dict]:
    return [json.loads(line) for line in (GOLDEN / name).read_text().splitlines()]


def plan(line: dict, key_times_s: tuple[float, ...] = ()) -> tuple[float, ...]:
    times_s = np.arange(line["total_frames"]) / line["video_fps"]
    return PAPER.plan_times(times_s, line["total_frames"] / line["video_fps"], key_times_s)


@needs_golden
def test_times_equal_the_corrected_labels_of_the_reference():
    compared = 0
    for line in read_lines("frame_sampling.jsonl"):
        # A video with fewer frames than wanted: the reference drops one of an odd number, here all are shown.
        if line["ele"] or not line["expected"] or line["total_frames"] < 16:
            continue
        corrected = line["expected_corrected"] or line["expected"]
        times_s = plan(line)
        assert [round(t, 1) for t in times_s] == pytest.approx(corrected["label_times"], abs=0.051), line["id"]
        assert list(times_s) == pytest.approx(line["expected"]["true_times"], abs=1e-6), line["id"]
        compared += 1
    assert compared > 60


@needs_golden
def test_key_frames_are_merged_by_true_time_as_in_the_corrected_order():
    compared = 0
    for line in read_lines("frame_prompts.jsonl"):
        n_frames, fps = line["total_frames"], line["video_fps"]
        keys_s = [key["time"] for key in line["key_frames"] or []]
        if n_frames < 16 or any(key_s > n_frames / fps for key_s in keys_s):
            continue
        # A key frame is decoded here, so it has the time of the frame that is on the screen, and shares it with the
        # even spread where both are one frame.
        corrected = line["expected_corrected"]
        shown = [
            frame_on_screen(np.arange(n_frames) / fps, t) if kind == "key" else round(t * fps)
            for (kind, _), t in zip(corrected["order"], corrected["times"], strict=True)
        ]
        assert [round(t * fps) for t in plan(line, tuple(keys_s))] == sorted(set(shown)), line["id"]
        compared += 1
    assert compared > 60


def test_a_key_frame_is_shown_at_its_true_time_once_and_in_order():
    times_s = np.arange(100) / 10
    sampling = FrameSampling(max_frames=4, min_frames=4, fps=2.0, insert_key_frames=True)
    assert sampling.plan_times(times_s, 10.0, [9.85, 3.3, 5.14, 5.11]) == (0.0, 3.3, 5.1, 6.6, 9.8, 9.9)
    quiet = FrameSampling(max_frames=4, min_frames=4, fps=2.0, insert_key_frames=False)
    assert quiet.plan_times(times_s, 10.0, [5.14]) == (0.0, 3.3, 6.6, 9.9)


def test_the_spread_of_a_constant_rate_is_that_of_the_reference():
    # from the reference's round(linspace(0, N - 1, n)): 49 frames, 8 wanted; 20 frames, 4 wanted
    assert even_spread(np.arange(49) / 10, 8).tolist() == [0, 7, 14, 21, 27, 34, 41, 48]
    assert even_spread(np.arange(20) / 10, 4).tolist() == [0, 6, 13, 19]
    assert even_spread(np.arange(4) / 30, 3).tolist() == [0, 2, 3]  # 1.5 to even


def test_the_spread_of_a_variable_rate_is_even_in_time_not_in_frame_numbers():
    times_s = np.concatenate([np.arange(90) / 100, 1 + np.arange(10)])
    chosen = times_s[even_spread(times_s, 11)]
    assert np.abs(chosen - np.linspace(0, 10, 11)).max() <= 0.5


@given(
    gaps=st.lists(st.floats(0.001, 2.0), min_size=1, max_size=60),
    keys=st.lists(st.floats(-1.0, 130.0), max_size=5),
    max_frames=st.integers(1, 20),
)
def test_plans_are_ascending_true_times_with_both_ends(gaps: list[float], keys: list[float], max_frames: int):
    times_s = np.cumsum(gaps)
    sampling = FrameSampling(max_frames=max_frames, min_frames=min(4, max_frames), fps=2.0, insert_key_frames=True)
    planned = sampling.plan_times(times_s, float(times_s[-1] + 0.04), keys)
    assert list(planned) == sorted(set(planned))
    assert set(planned) <= set(times_s.tolist())
    assert len(planned) <= max_frames + len(keys)
    assert times_s[0] in planned
    assert all(float(times_s[frame_on_screen(times_s, key)]) in planned for key in keys)


@pytest.mark.parametrize("bad", [{"max_frames": 0}, {"min_frames": 20}, {"fps": 0.0}, {"fps": float("nan")}])
def test_impossible_settings_are_named(bad: dict):
    settings = {"max_frames": 16, "min_frames": 4, "fps": 2.0, "insert_key_frames": True} | bad
    with pytest.raises(ConfigError, match=f"sampling.{next(iter(bad))}"):
        FrameSampling(**settings)
