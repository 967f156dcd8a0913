"""Thinking terms by hand: the gate of the paper, annealing, denominators."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from o3v.errors import ConfigError
from o3v.grounding.parse import parse_completion
from o3v.rewards.thinking import ThkSpatial, ThkTemporalPoint, ThkTemporalSegment, annealed_sigma, nearest_frame
from o3v.types import BoxScale, KeyFrame, Task
from tests.rewards.samples import sample

SCALE = BoxScale(100, 100)
CAT = "<obj>cat</obj><box>[0,0,50,50]</box>at<t>{}</t>s"
FRAMES = (KeyFrame(10.0, {"cat": ((0.0, 0.0, 0.5, 0.5),), "dog": ((0.5, 0.5, 1.0, 1.0),)}, None),)
VIDEO = sample(task=Task.TEMPORAL_SPATIAL, key_frames=FRAMES)
PAPER = ThkSpatial(gate_s=3.0, denominator="times")


def read(think):
    return parse_completion(f"<think>{think}</think><answer>x</answer>", SCALE)


@pytest.mark.parametrize(
    ("cited_s", "expected"),
    [(5, 0.0), (6.99, 0.0), (7, 1.0), (10, 1.0), (12, 1.0), (13, 1.0), (13.01, 0.0), (500, 0.0)],
)
def test_gate_is_two_sided_and_inclusive(cited_s, expected):
    assert PAPER(read(CAT.format(cited_s)), VIDEO, 0.0) == expected
    assert ThkSpatial(gate_s=None, denominator="times")(read(CAT.format(cited_s)), VIDEO, 0.0) == 1.0


def test_a_time_without_a_box_counts_in_the_denominator():
    done = read(f"{CAT.format(10)} and <t>11</t>s <t>12</t>s <t>13</t>s")
    assert PAPER(done, VIDEO, 0.0) == 0.25
    assert ThkSpatial(gate_s=3.0, denominator="claims")(done, VIDEO, 0.0) == 1.0


def test_broken_claims_are_not_free():
    done = read(CAT.format(10) + "<obj>cat</obj><box>[1,2,3]</box>at<t>10</t>s")
    assert PAPER(done, VIDEO, 0.0) == 0.5


def test_names_are_not_compared_and_the_best_object_counts():
    assert PAPER(read("<obj>ship</obj><box>[50,50,100,100]</box>at<t>10</t>s"), VIDEO, 0.0) == 1.0


def test_still_image_takes_the_best_box():
    still = sample(task=Task.VISUAL_QA, box=(0.0, 0.0, 0.5, 0.5))
    assert PAPER(read("<box>[90,90,95,95]</box><box>[0,0,50,50]</box>"), still, 0.0) == 1.0
    assert PAPER(read("no box"), still, 0.0) == 0.0
    assert PAPER(parse_completion("<think><box>[0,0,50,50]</box></think>", SCALE), still, 0.0) == 0.0


def test_gate_open_is_the_share_of_passing_claims():
    done = read(CAT.format(10) + CAT.format(20))
    assert PAPER.diagnostics(done, VIDEO, 0.0) == {"gate_open": 0.5}
    assert PAPER.diagnostics(read(""), VIDEO, 0.0) == {"gate_open": 0.0}


def test_missing_annotations_are_undefined():
    bare = sample(task=Task.TEMPORAL_SPATIAL)
    point = ThkTemporalPoint(sigma_start_s=4.0, sigma_end_s=1.0, sigma_until=0.75)
    assert math.isnan(PAPER(read(CAT.format(1)), bare, 0.0))
    assert math.isnan(point(read(CAT.format(1)), bare, 0.0))
    assert math.isnan(ThkTemporalSegment()(read("<t>1</t>s"), sample(task=Task.TEMPORAL_QA), 0.0))
    assert PAPER(read(""), bare, 0.0) == point(read(""), bare, 0.0) == 0.0


@settings(deadline=None)
@given(st.floats(0, 1))
def test_sigma_is_that_of_the_released_code(progress):
    released = 4 * (1 - progress) if progress < 0.75 else 1.0
    assert annealed_sigma(progress, 4.0, 1.0, 0.75) == pytest.approx(released)


@settings(deadline=None)
@given(st.floats(allow_nan=True), st.lists(st.floats(0, 1e6), max_size=4), st.floats(0, 10))
def test_gate_keeps_nothing_further_than_it(time_s, key_s, gate_s):
    frame = nearest_frame(time_s, [KeyFrame(t, {}, None) for t in key_s], gate_s)
    assert frame is None or abs(frame.time_s - time_s) == min(abs(t - time_s) for t in key_s) <= gate_s


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ThkSpatial(gate_s=-1.0, denominator="times"), "gate_s"),
        (lambda: ThkSpatial(gate_s=math.nan, denominator="times"), "gate_s"),
        (lambda: ThkSpatial(gate_s=1.0, denominator="all"), "times"),
        (lambda: ThkTemporalPoint(sigma_start_s=0.0, sigma_end_s=1.0, sigma_until=0.75), "sigma_start_s"),
        (lambda: ThkTemporalPoint(sigma_start_s=1.0, sigma_end_s=1.0, sigma_until=0.0), "sigma_until"),
    ],
)
def test_wrong_values_are_named(make, words):
    with pytest.raises(ConfigError, match=words):
        make()
