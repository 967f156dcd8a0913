"""Pseudo-values: exact means, the clustered standard error of `statistics`, and a derived number's own."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from o3v.benchmarks.statistics import estimate_columns
from o3v.comparison.pseudo import pseudo_values
from o3v.comparison.twoway import two_way


def made(rng, n=60):
    videos = [f"v{k}" for k in rng.integers(0, 15, n)]
    acc = (rng.random(n) < 0.6).astype(float)
    tiou = np.where(rng.random(n) < 0.3, np.nan, rng.random(n))
    return {"acc": acc, "tiou": tiou}, videos


def product(means):
    return means["acc"] * means["tiou"]


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_one_run_has_the_interval_by_video_of_the_report(seed):
    """Two ways to the same standard error: residual sums, and the spread of pseudo-values."""
    columns, videos = made(np.random.default_rng(seed))
    found = pseudo_values(columns, videos, {"product": product})
    reported = estimate_columns(columns, videos, {"product": product}, 50, 0)
    for name in ("acc", "tiou"):
        spread = two_way(found.values(name)[None, :])
        assert spread.value == pytest.approx(reported[name].value)
        assert spread.se == pytest.approx(reported[name].se)
    assert found.numbers["product"] == pytest.approx(reported["product"].value)


def test_a_derived_number_is_linear_in_its_means():
    """For f = acc * tiou the influence of a video is tiou * (its pull on acc) + acc * (its pull on tiou)."""
    columns, videos = made(np.random.default_rng(3))
    found = pseudo_values(columns, videos, {"product": product})
    acc, tiou = found.numbers["acc"], found.numbers["tiou"]
    pull = tiou * found.pulls["acc"] + acc * found.pulls["tiou"]
    assert found.pulls["product"] == pytest.approx(pull, abs=1e-9)
    assert found.values("product").mean() == pytest.approx(acc * tiou)


def test_its_standard_error_is_that_of_the_bootstrap():
    columns, videos = made(np.random.default_rng(5), 4000)
    videos = [f"v{k % 400}" for k in range(4000)]
    found = pseudo_values(columns, videos, {"product": product})
    bootstrap = estimate_columns(columns, videos, {"product": product}, 4000, 0)["product"]
    assert two_way(found.values("product")[None, :]).se == pytest.approx(bootstrap.se, rel=0.05)


def test_a_column_that_no_question_has_is_not_there():
    found = pseudo_values({"acc": np.array([1.0, 0.0]), "x": np.array([np.nan, np.nan])}, ["a", "b"], {})
    assert np.isnan(found.numbers["x"]) and not found.there["x"].any()
