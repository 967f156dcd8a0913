"""Intervals and paired differences: known values, invariances, coverage on simulated videos."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from o3v.benchmarks.statistics import estimate_columns, estimate_mean, paired_difference
from o3v.errors import DataError

VALUES = st.lists(st.floats(-10, 10), min_size=2, max_size=30)


@given(VALUES)
def test_one_sample_a_video_is_the_textbook_standard_error(values):
    estimate = estimate_mean(values, [str(i) for i in range(len(values))], 50, 0)
    assert estimate.se == pytest.approx(np.std(values, ddof=1) / math.sqrt(len(values)), abs=1e-12)
    assert estimate.value == pytest.approx(np.mean(values), abs=1e-9)
    assert estimate.n == estimate.clusters == len(values)


@given(VALUES, st.integers(1, 4))
def test_copies_of_a_sample_in_its_video_add_no_certainty(values, copies):
    ids = [str(i) for i in range(len(values))]
    once = estimate_mean(values, ids, 60, 1)
    many = estimate_mean(values * copies, ids * copies, 60, 1)
    assert many.se == pytest.approx(once.se, abs=1e-9)
    assert (many.low, many.high) == pytest.approx((once.low, once.high), abs=1e-9)
    assert many.n == copies * once.n


@given(VALUES, st.randoms())
def test_order_does_not_matter(values, random):
    rows = [(value, str(i % 5)) for i, value in enumerate(values)]
    shuffled = random.sample(rows, len(rows))
    one, two = (estimate_mean([v for v, _ in r], [c for _, c in r], 60, 2) for r in (rows, shuffled))
    assert (one.value, one.se, one.low, one.high) == pytest.approx((two.value, two.se, two.low, two.high), nan_ok=True)


def test_clustered_standard_error_by_hand():
    # mean 0.5; residual sums 1.0, -0.5, -0.5; sqrt(3 / 2 * 1.5) / 4
    assert estimate_mean([1, 1, 0, 0], ["a", "a", "b", "c"], 10, 0).se == pytest.approx(0.375)


def test_one_video_has_no_interval_and_no_data_no_value():
    one = estimate_mean([1.0, 0.0], ["a", "a"], 100, 0)
    assert one.value == 0.5 and math.isnan(one.se) and math.isnan(one.low)
    none = estimate_mean([], [], 100, 0)
    assert math.isnan(none.value) and none.n == 0


def test_intervals_cover_and_those_that_ignore_videos_do_not():
    rng = np.random.default_rng(0)
    clustered, naive = 0, 0
    runs = 300
    for run in range(runs):
        sizes = rng.integers(1, 12, size=40)
        videos = np.repeat(np.arange(40), sizes)
        values = rng.normal(size=40)[videos] + 0.3 * rng.normal(size=len(videos))  # true mean 0
        estimate = estimate_mean(values.tolist(), [str(v) for v in videos], 300, run)
        clustered += estimate.low <= 0 <= estimate.high
        naive += abs(values.mean()) <= 1.96 * values.std() / math.sqrt(len(values))
    assert 0.89 <= clustered / runs <= 0.98
    assert naive / runs < 0.75


def test_seed_decides_the_interval():
    values, videos = list(range(20)), [str(i // 2) for i in range(20)]
    first, again, other = (estimate_mean(values, videos, 500, seed) for seed in (3, 3, 4))
    assert first == again and first.low != other.low


def test_columns_keep_their_own_denominators_and_derive_jointly():
    nan = np.nan
    columns = {"a": np.array([1.0, 0.0, nan, nan]), "b": np.array([nan, nan, 0.5, 0.7])}
    found = estimate_columns(columns, ["1", "2", "3", "4"], {"sum": lambda m: m["a"] + m["b"]}, 400, 0)
    assert (found["a"].value, found["a"].n) == (0.5, 2)
    assert found["b"].value == pytest.approx(0.6)
    assert found["sum"].value == pytest.approx(1.1) and found["sum"].n == 4
    assert found["sum"].se > 0 and found["sum"].low < 1.1 < found["sum"].high


@given(VALUES, st.floats(-5, 5))
@settings(max_examples=50)
def test_a_constant_difference_is_certain(values, shift):
    ids = [str(i) for i in range(len(values))]
    a = {key: value + shift for key, value in zip(ids, values, strict=True)}
    b = dict(zip(ids, values, strict=True))
    found = paired_difference(a, b, {key: key for key in ids}, 50, 0)
    assert found.mean == pytest.approx(shift, abs=1e-9)
    assert found.se == pytest.approx(0, abs=1e-9)
    assert paired_difference(b, a, {key: key for key in ids}, 50, 0).mean == pytest.approx(-found.mean)


def test_equal_systems_have_p_one_and_no_overlap_is_an_error():
    same = {"x": 1.0, "y": 0.0}
    found = paired_difference(same, same, {"x": "x", "y": "y"}, 10, 0)
    assert (found.z, found.p) == (0.0, 1.0)
    with pytest.raises(DataError, match="no sample in common"):
        paired_difference({"x": 1.0}, {"y": 1.0}, {"x": "x", "y": "y"}, 10, 0)


def test_unmatched_samples_are_counted():
    found = paired_difference({"x": 1, "y": 0, "z": 1}, {"x": 0, "y": 0}, {k: k for k in "xyz"}, 10, 0)
    assert (found.n, found.unmatched, found.mean) == (2, 1, 0.5)


def test_pairing_is_sharper_than_comparing_intervals():
    rng = np.random.default_rng(1)
    base = rng.normal(size=200)
    a = {str(i): base[i] + 0.1 + 0.1 * rng.normal() for i in range(200)}
    b = {str(i): base[i] for i in range(200)}
    found = paired_difference(a, b, {key: key for key in a}, 200, 0)
    assert found.p < 1e-6 and found.low > 0
    assert found.se < 0.2 * estimate_mean(list(a.values()), list(a), 50, 0).se


def test_correlated_questions_widen_the_clustered_standard_error():
    rng = np.random.default_rng(2)
    shift = np.repeat(rng.normal(size=30), 10)
    a = {str(i): shift[i] for i in range(300)}
    found = paired_difference(a, dict.fromkeys(a, 0.0), {str(i): str(i // 10) for i in range(300)}, 50, 0)
    assert found.se == pytest.approx(math.sqrt(10) * found.se_independent, rel=0.05)
