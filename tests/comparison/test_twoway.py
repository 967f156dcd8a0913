"""The interval over seeds and videos: worked by hand, its limits, and what it does not depend on."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from o3v.comparison.student import quantile_95
from o3v.comparison.twoway import over_seeds, two_way

TABLES = arrays(float, st.tuples(st.integers(2, 5), st.integers(2, 9)), elements=st.floats(-2, 2, width=32))


def test_worked_by_hand():
    """Seeds' means 1, 2, 6 (mean 3); videos' means 2, 4; rest all 0 but +-1.

    MS_seed = 2 * (4 + 1 + 9) / 2 = 14, MS_video = 3 * (1 + 1) / 1 = 6, MS_rest = (4 * 1) / (2 * 1) = 2,
    variance = (6 + 14 - 2) / 6 = 3; MS_seed is above 2 * MS_rest, so df = 18^2 / (14^2 / 2 + 6^2 / 1) = 324 / 134.
    """
    rest = np.array([[1.0, -1.0], [-1.0, 1.0], [0.0, 0.0]])
    table = np.array([[1.0], [2.0], [6.0]]) + np.array([[-1.0, 1.0]]) + rest
    found = two_way(table)
    assert (found.value, found.se, found.kind) == (3.0, pytest.approx(math.sqrt(3)), "seeds and videos")
    assert found.df == pytest.approx(324 / 134)
    assert found.high - found.value == pytest.approx(quantile_95(324 / 134) * math.sqrt(3))


def test_seeds_that_agree_too_well_leave_the_interval_by_video():
    """MS_seed = 0 < MS_rest: MS_video alone, as if the seeds' means were one run's."""
    table = np.array([[0.0, 1.0, 2.0, 5.0], [1.0, 0.0, 5.0, 2.0]])
    found = two_way(table)
    of_video = table.mean(axis=0)
    assert found.se == pytest.approx(of_video.std(ddof=1) / 2)
    assert found.df == pytest.approx(3)


def test_seeds_that_differ_a_little_count_a_little():
    """MS_seed 3 (means 0, 1, 2; 3 videos), MS_rest 2: known = 3 * 2 * (3 - 2), continuous at both ends."""
    rest = np.array([[1.0, -1.0, 0.0], [-1.0, 0.0, 1.0], [0.0, 1.0, -1.0]]) * math.sqrt(4 / 3)
    table = np.array([[0.0], [1.0], [2.0]]) + np.array([[-1.0, 0.0, 1.0]]) + rest
    ms_video, ms_rest = 3.0, 8 / 4
    total = ms_video + 3 - ms_rest
    assert two_way(table).df == pytest.approx(total**2 / (3 * 2 * (3 - ms_rest) / 2 + ms_video**2 / 2))


def test_one_seed_is_the_interval_by_video():
    values = np.array([[0.0, 1.0, 1.0, 0.0, 1.0]])
    found = two_way(values)
    assert (found.kind, found.df, found.se) == ("videos", 4, pytest.approx(values.std(ddof=1) / math.sqrt(5)))


def test_nothing_to_estimate_from_is_no_interval():
    for table in (np.array([[1.0], [2.0]]), np.array([[1.0]]), np.zeros((2, 0))):
        found = two_way(table)
        assert math.isnan(found.low) and math.isnan(found.p) and found.kind == "none"


def test_no_difference_anywhere_is_p_1():
    found = two_way(np.zeros((3, 20)))
    assert (found.value, found.low, found.high, found.p) == (0.0, 0.0, 0.0, 1.0)


def test_over_seeds_is_students_interval():
    """52, 55, 58: sd 3, t(2) = 4.3027, half 4.3027 * 3 / sqrt(3)."""
    found = over_seeds(np.array([52.0, 55.0, 58.0]))
    assert found.high - found.value == pytest.approx(4.30265272975 * math.sqrt(3))
    assert over_seeds(np.array([1.0])).kind == "none"


@given(TABLES, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_order_sign_and_scale(table, random):
    found = two_way(table)
    rows, columns = list(range(table.shape[0])), list(range(table.shape[1]))
    random.shuffle(rows)
    random.shuffle(columns)
    other = two_way(table[rows][:, columns])
    for name in ("value", "low", "high", "se", "p"):
        assert getattr(other, name) == pytest.approx(getattr(found, name), rel=1e-6, abs=1e-9)
    turned = two_way(-3.0 * table)
    assert turned.value == pytest.approx(-3 * found.value, abs=1e-9)
    assert turned.se == pytest.approx(3 * found.se, rel=1e-6, abs=1e-9)


@given(TABLES)
@settings(max_examples=60, deadline=None)
def test_never_surer_than_by_video_alone(table):
    of_video = table.mean(axis=0).std(ddof=1) / math.sqrt(table.shape[1])
    assert two_way(table).se >= of_video * (1 - 1e-9) - 1e-9
