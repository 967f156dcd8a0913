"""Spans: values by hand and the properties of the temporal IoU."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from o3v.grounding.spans import contains, tiou

spans = st.tuples(st.floats(0, 1e6), st.floats(0, 1e6))


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((0, 4), (2, 6), 2 / 6),
        ((0, 1), (3, 4), 0.0),  # the hull holds the gap, the intersection is 0
        ((1, 2), (1, 2), 1.0),
        ((2, 2), (2, 2), 0.0),
        ((5, 1), (1, 5), 0.0),
        ((0, 1), (5, 1), 0.0),
        ((0, math.inf), (0, 1), 0.0),
        ((math.nan, 1), (0, 1), 0.0),
    ],
)
def test_tiou_by_hand(a, b, expected):
    assert tiou(a, b) == pytest.approx(expected)


@settings(deadline=None)
@given(spans, spans)
def test_tiou_is_a_symmetric_share(a, b):
    assert 0.0 <= tiou(a, b) <= 1.0
    assert tiou(a, b) == tiou(b, a)


@settings(deadline=None)
@given(spans)
def test_tiou_with_itself(a):
    assert tiou(a, a) == (1.0 if a[1] > a[0] else 0.0)


def test_ends_belong_to_the_span():
    assert contains((1.0, 2.0), 1.0)
    assert contains((1.0, 2.0), 2.0)
    assert not contains((1.0, 2.0), math.nan)
