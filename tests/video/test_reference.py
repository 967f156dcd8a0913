"""Frames as the released code takes, labels and sizes them: golden lines in both definitions, wrong versions caught."""

import pytest

from o3v.video import reference
from o3v.video.geometry import ResizePlan
from o3v.video.reference import image_size, sample_frames, smart_resize, video_frame_size
from o3v.video.sampling import even_spread
from tests.golden.lines import SMALL, both, read_lines


def sampled(line):
    """The released way of a line, and where it raises, what it says."""
    try:
        return sample_frames(line["ele"], line["total_frames"], line["video_fps"]), None
    except (ValueError, ZeroDivisionError) as error:
        return None, str(error)


def sampling_misses(folder):
    misses = []
    for line in read_lines(folder, "frame_sampling"):
        found, raised = sampled(line)
        expected = line["expected"]
        if expected is None or found is None:
            misses += [] if found is None and expected is None and raised in line["raises"] else [line["id"]]
            continue
        got = {
            "nframes": len(found.indices),
            "indices": list(found.indices),
            "sample_fps": pytest.approx(found.sample_fps, abs=1e-9),
            "label_times": list(found.label_times_s),
            "total_seconds_line": found.total_s,
            "true_times": pytest.approx(list(found.true_times_s), abs=1e-9),
        }
        if "resized_height" in expected:
            size = video_frame_size(line["ele"], len(found.indices), line["height"], line["width"])
            got |= {"resized_height": size[0], "resized_width": size[1]}
        corrected = (line["expected_corrected"] or expected)["label_times"]
        right = [round(time_s, 1) for time_s in found.true_times_s] == corrected
        misses += [] if right and all(expected[name] == value for name, value in got.items()) else [line["id"]]
    return misses


def resize_misses(folder):
    misses = []
    for line in read_lines(folder, "smart_resize"):
        height, width = line["height"], line["width"]
        try:
            if line["function"] == "smart_resize":
                size = smart_resize(height, width, line["factor"], line["min_pixels"], line["max_pixels"])
            else:
                size = image_size(line["ele"], height, width)
        except ValueError as error:
            misses += [] if str(error) == line["raises"] else [line["id"]]
            continue
        misses += [] if list(size) == line["expected_h_w"] else [line["id"]]
    return misses


@both
def test_golden_sampling(folder):
    assert sampling_misses(folder) == []


@both
def test_golden_sizes(folder):
    assert resize_misses(folder) == []


@both
def test_the_default_sizes_are_those_of_the_released_code_where_it_keeps_its_limits(folder):
    compared = 0
    for line in read_lines(folder, "smart_resize"):
        if line["function"] != "smart_resize" or line["raises"]:
            continue
        plan = ResizePlan(line["factor"], line["min_pixels"], line["max_pixels"])
        height, width = plan.smart_resize(line["height"], line["width"])
        if line["deviation"] is None:
            assert [height, width] == line["expected_h_w"]
            compared += 1
        else:
            assert height * width <= line["max_pixels"]
    assert compared > 5


@both
def test_the_default_spread_takes_the_released_codes_frames(folder):
    import numpy as np

    compared = 0
    for line in read_lines(folder, "frame_sampling"):
        expected = line["expected"]
        if expected is None:
            continue
        times_s = np.arange(line["total_frames"]) / line["video_fps"]
        assert even_spread(times_s, expected["nframes"]).tolist() == expected["indices"]
        compared += 1
    assert compared > 10


MUTANTS = {
    "one frame more": ("_spread", lambda last, count: [k * last / count for k in range(count)]),
    "in fours": ("PAIR", 4),
    "at most 8 frames": ("MAX_FRAMES", 8),
    "other factor": ("FACTOR", 32),
    "video pixels doubled": ("VIDEO_PIXELS", 2 * 128 * 28 * 28),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_wrong_versions_are_caught(name, monkeypatch):
    monkeypatch.setattr(reference, *MUTANTS[name])
    assert sampling_misses(SMALL)
