"""Boxes: values by hand and the properties that any IoU has."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from o3v.grounding.boxes import area, box_iou, clip, is_valid

unit = st.floats(-2.0, 2.0, allow_nan=False)
boxes = st.tuples(unit, unit, unit, unit)
anything = st.tuples(*[st.floats()] * 4)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((0, 0, 2, 2), (1, 1, 3, 3), 1 / 7),
        ((0, 0, 1, 1), (1, 0, 2, 1), 0.0),  # they touch only
        ((0, 0, 4, 4), (1, 1, 2, 3), 2 / 16),  # one inside the other
        ((0, 0, 1, 1), (0, 0, 1, 1), 1.0),
        ((0, 0, 0, 1), (0, 0, 0, 1), 0.0),  # no area
        ((1, 1, 0, 0), (0, 0, 1, 1), 0.0),  # inverted twice: the product of the sides is positive
        ((0, 0, math.nan, 1), (0, 0, 1, 1), 0.0),
        ((0, 0, math.inf, 1), (0, 0, 1, 1), 0.0),
        ((0, 0, 1e300, 1e300), (0, 0, 1e300, 1e300), 0.0),  # the area overflows
    ],
)
def test_iou_by_hand(a, b, expected):
    assert box_iou(a, b) == pytest.approx(expected, abs=1e-12)


@settings(deadline=None)
@given(anything, anything)
def test_iou_is_a_share_for_any_numbers(a, b):
    assert 0.0 <= box_iou(a, b) <= 1.0


@settings(deadline=None)
@given(boxes, boxes)
def test_iou_is_symmetric(a, b):
    assert box_iou(a, b) == pytest.approx(box_iou(b, a))


@settings(deadline=None)
@given(boxes)
def test_iou_with_itself_is_one_when_valid(a):
    assert box_iou(a, a) == pytest.approx(1.0 if is_valid(a) and area(a) > 0.0 else 0.0)


@settings(deadline=None)
@given(st.tuples(*[st.integers(0, 64)] * 4), st.tuples(*[st.integers(0, 64)] * 4), st.integers(-9, 9))
def test_iou_does_not_move_with_the_boxes_nor_with_their_unit(a, b, shift):
    moved = [tuple(float(v + shift) * 28 for v in box) for box in (a, b)]
    assert box_iou(*moved) == pytest.approx(box_iou(a, b))


@settings(deadline=None)
@given(boxes)
def test_clip_lies_in_the_frame_and_is_idempotent(box):
    clipped = clip(box)
    assert all(0.0 <= v <= 1.0 for v in clipped)
    assert clip(clipped) == clipped
