"""Sizes stay in the window, keep the aspect and agree with the reference wherever it keeps its own limits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from o3v.errors import ConfigError
from o3v.video.geometry import ResizePlan, fit_budget, is_too_thin, resize

GOLDEN = Path(__file__).parents[3] / "shared" / "golden" / "smart_resize.jsonl"
# (height, width, factor, min_pixels, max_pixels) -> (height, width), by hand from the rule of the Qwen-VL processors
KNOWN = [
    ((1, 28, 28, 100352, 602112), (84, 1680)),  # scale 59.87: up to 59.9 -> 84, 1676.3 -> 1680
    ((500, 3840, 28, 100352, 602112), (280, 2128)),  # scale 0.56: 280, 2150.4 -> 2128
    ((360, 640, 28, 3136, 100352), (224, 420)),
    ((84, 84, 28, 3136, 12544), (84, 84)),
    ((10, 10, 28, 3136, 12544), (56, 56)),
]
sides = st.integers(1, 4000)


@pytest.mark.skipif(not GOLDEN.exists(), reason="golden vectors of the reference are not on this machine")
def test_sizes_equal_the_reference_where_it_keeps_its_limits():
    lines = [json.loads(line) for line in GOLDEN.read_text().splitlines()]
    compared = 0
    for line in (line for line in lines if line["function"] == "smart_resize"):
        plan = ResizePlan(line["factor"], line["min_pixels"], line["max_pixels"])
        if line["raises"]:
            assert is_too_thin(line["height"], line["width"])
            continue
        height, width = plan.smart_resize(line["height"], line["width"])
        if line["deviation"] is None:
            assert [height, width] == line["expected_h_w"], line["id"]
            compared += 1
        elif line["expected_h_w"][0] * line["expected_h_w"][1] > line["max_pixels"]:
            assert height * width <= line["max_pixels"], line["id"]
    assert compared > 100


@given(
    height=sides, width=sides, factor=st.sampled_from([28, 32]), min_side=st.integers(1, 20), room=st.integers(0, 99)
)
def test_sides_are_multiples_and_the_area_keeps_the_maximum(height: int, width: int, factor: int, min_side: int, room):
    if is_too_thin(height, width):
        return
    min_pixels = (min_side * factor) ** 2
    plan = ResizePlan(factor, min_pixels, min_pixels + room * 1000)
    h, w = plan.smart_resize(height, width)
    assert h % factor == w % factor == 0
    assert h > 0 and w > 0
    assert h * w <= plan.max_pixels
    assert plan.tokens(h, w) == h * w // factor**2


@given(st.integers(200, 2000), st.integers(200, 2000))
def test_the_aspect_is_about_kept(height: int, width: int):
    h, w = ResizePlan(28, 28 * 28, 512 * 28 * 28).smart_resize(height, width)
    assert abs(np.log((h / w) / (height / width))) < np.log(1 + 2 * 28 / min(h, w))


def test_too_thin_is_refused():
    with pytest.raises(ValueError, match="aspect ratio of 900x4 is above 200"):
        ResizePlan(28, 3136, 100352).smart_resize(4, 900)


def test_budget_drops_frames_evenly_and_key_frames_last():
    times = tuple(float(t) for t in range(10))
    assert fit_budget(times, set(), 10, 100) == times
    assert fit_budget(times, set(), 10, 50) == (0.0, 2.0, 4.0, 7.0, 9.0)
    assert fit_budget(times, {3.0, 7.0}, 10, 40) == (0.0, 3.0, 7.0, 9.0)
    assert fit_budget(times, set(times), 10, 20) == (0.0, 9.0)
    with pytest.raises(ConfigError, match=r"reader\.max_total_tokens=9"):
        fit_budget(times, set(), 10, 9)


@given(n=st.integers(1, 40), keys=st.sets(st.integers(0, 39)), n_fit=st.integers(1, 45))
def test_budget_is_kept_and_filled(n: int, keys: set[int], n_fit: int):
    times = tuple(float(t) for t in range(n))
    key_times = {float(k) for k in keys if k < n}
    kept = fit_budget(times, key_times, 7, 7 * n_fit + 3)
    assert len(kept) == min(n, n_fit) == len(set(kept))
    assert list(kept) == sorted(kept) and set(kept) <= set(times)
    assert len(key_times & set(kept)) == min(len(key_times), n_fit)


def test_resize_keeps_content_and_leaves_fitting_frames_alone():
    frame = np.zeros((40, 80, 3), dtype=np.uint8)
    frame[:, 40:] = 200
    small = resize(frame, 20, 40)
    assert small.shape == (20, 40, 3) and small.dtype == np.uint8
    assert small[:, :18].max() < 5 and small[:, 22:].min() > 195
    assert resize(frame, 40, 80) is frame
