"""Tests by exchange: exact values, level with few videos, and Holm's adjustment."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from o3v.benchmarks import permutation
from o3v.benchmarks.permutation import holm, swap_test
from o3v.benchmarks.statistics import paired_difference

P = st.dictionaries(st.text(max_size=3), st.floats(0, 1), max_size=8)


def test_exact_where_all_exchanges_are_few():
    a, b = {"x": np.array([1.0, 1.0, 0.0, 1.0])}, {"x": np.array([0.0, 0.0, 0.0, 0.0])}
    # three videos that differ by one: of 8 exchanges two have a difference of 3 in either direction
    assert swap_test(a, b, ["1", "2", "3", "4"], {}, 100, 0)["x"] == 0.25
    assert swap_test(a, b, ["1", "1", "3", "3"], {}, 100, 0)["x"] == 0.5


def test_drawn_exchanges_come_near_the_exact_ones():
    rng = np.random.default_rng(0)
    a, b = {"x": rng.normal(0.4, 1, 12)}, {"x": rng.normal(0, 1, 12)}
    videos = [str(k) for k in range(12)]
    exact, drawn = swap_test(a, b, videos, {}, 4096, 0)["x"], swap_test(a, b, videos, {}, 4000, 0)["x"]
    assert drawn != exact and drawn == pytest.approx(exact, abs=0.03)


def test_equal_systems_have_p_one_and_no_data_has_none():
    same = {"x": np.array([1.0, 0.0]), "y": np.array([np.nan, np.nan])}
    found = swap_test(same, same, ["1", "2"], {"twice": lambda m: 2 * m["x"]}, 100, 0)
    assert found["x"] == found["twice"] == 1.0 and math.isnan(found["y"])
    assert swap_test({}, {}, [], {}, 100, 0) == {}


def test_derived_numbers_are_tested_as_they_are_made():
    a, b = {"x": np.ones(5), "y": np.zeros(5)}, {"x": np.zeros(5), "y": np.ones(5)}
    videos = list("12345")
    found = swap_test(a, b, videos, {"sum": lambda m: m["x"] + m["y"], "gap": lambda m: m["x"] - m["y"]}, 100, 0)
    assert found["sum"] == 1.0 and found["gap"] == found["x"] == 2 / 32


def test_samples_without_a_partner_do_not_count():
    a, b = {"x": np.array([1.0, 1.0, 9.0, np.nan])}, {"x": np.array([0.0, 0.0, np.nan, 9.0])}
    assert swap_test(a, b, ["1", "2", "3", "4"], {}, 100, 0)["x"] == 0.5


def simulated(rng, n_videos):
    """Yes/no answers of two equally good systems, alike within a video; a and b of one video are exchangeable."""
    videos = np.repeat(np.arange(n_videos), rng.integers(1, 8, size=n_videos))
    ease, lean = rng.normal(0.3, 1, n_videos), rng.normal(0, 0.7, n_videos)
    sides = [rng.random(len(videos)) < 1 / (1 + np.exp(-(ease + sign * lean)))[videos] for sign in (1, -1)]
    return [side.astype(float) for side in sides], [str(video) for video in videos]


def rejections(n_videos, runs=150):
    """Shares of runs with p < 0.05: by exchange, and by the normal approximation; and of intervals that hold 0."""
    rng = np.random.default_rng(n_videos)
    swapped = normal = held = 0
    for run in range(runs):
        (a, b), videos = simulated(rng, n_videos)
        swapped += swap_test({"x": a}, {"x": b}, videos, {}, 299, run)["x"] < 0.05
        ids = [str(k) for k in range(len(a))]
        sides = [dict(zip(ids, side, strict=True)) for side in (a, b)]
        found = paired_difference(*sides, dict(zip(ids, videos, strict=True)), 200, run)
        normal += found.p < 0.05
        held += found.low <= 0 <= found.high
    return swapped / runs, normal / runs, held / runs


def test_level_with_few_and_with_many_videos():
    swapped, normal, _ = rejections(8)
    assert swapped <= 0.07 < normal
    swapped, normal, held = rejections(60)
    assert swapped <= 0.09 and normal <= 0.09 and held >= 0.9


def test_power():
    rng = np.random.default_rng(5)
    videos = np.repeat(np.arange(40), 4)
    base = rng.normal(size=40)[videos]
    a, b = {"x": base + 0.4 + 0.3 * rng.normal(size=160)}, {"x": base}
    assert swap_test(a, b, [str(v) for v in videos], {}, 999, 0)["x"] == 0.001


@given(P)
def test_holm_raises_keeps_order_and_does_not_depend_on_order(p):
    adjusted = holm(p)
    assert list(adjusted) == list(p)
    assert all(p[name] <= adjusted[name] <= min(1, len(p) * p[name]) for name in p)
    for one in p:
        for two in p:
            assert adjusted[one] <= adjusted[two] or p[one] >= p[two]
    assert holm(dict(reversed(p.items()))) == adjusted


def test_holm_leaves_out_what_is_not_a_number():
    found = holm({"a": 0.02, "b": math.nan, "c": 0.5})
    assert found["a"] == 0.04 and math.isnan(found["b"])


def test_wrong_versions_are_caught(monkeypatch):
    def caught():
        try:
            test_exact_where_all_exchanges_are_few()
            test_samples_without_a_partner_do_not_count()
            test_derived_numbers_are_tested_as_they_are_made()
        except AssertionError:
            return True
        return False

    assert not caught()
    by_sample = lambda table, clusters: (np.nan_to_num(table), (~np.isnan(table)).astype(float))  # noqa: E731
    whole = lambda a, b, names: [np.stack([side[n] for n in names], axis=1) for side in (a, b)]  # noqa: E731
    for name, version in {"cluster_sums": by_sample, "_both": whole, "_TOLERANCE": -0.5}.items():
        with monkeypatch.context() as patch:
            patch.setattr(permutation, name, version)
            assert caught(), name
