"""Student's t against printed tables and against exact forms."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from o3v.comparison.student import quantile_95, two_sided_p

# t with two-sided probability 0.05, printed tables (Abramowitz and Stegun, table 26.10)
PRINTED = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 9: 2.262, 15: 2.131, 30: 2.042, 60: 2.000, 120: 1.980}


@pytest.mark.parametrize("df", PRINTED)
def test_quantiles_are_the_printed_ones(df):
    assert quantile_95(df) == pytest.approx(PRINTED[df], abs=5e-4)


@pytest.mark.parametrize("t", [0.0, 0.3, 1.0, 4.0, 50.0])
def test_closed_forms_of_one_and_two_degrees(t):
    assert two_sided_p(t, 1) == pytest.approx(1 - 2 / math.pi * math.atan(t), abs=1e-12)
    assert two_sided_p(t, 2) == pytest.approx(1 - t / math.sqrt(2 + t * t), abs=1e-12)


@given(st.floats(0.01, 60), st.floats(0.3, 1e6))
@settings(deadline=None)
def test_it_is_a_symmetric_probability_that_falls_with_t_and_df(t, df):
    p = two_sided_p(t, df)
    assert 0 <= p <= 1 + 1e-12 and p == two_sided_p(-t, df)
    assert two_sided_p(t * 1.1, df) <= p + 1e-12
    assert two_sided_p(t, df * 1.5) <= p + 1e-8


@given(st.floats(0.4, 1e6))
@settings(deadline=None)
def test_quantile_and_probability_are_inverse(df):
    assert two_sided_p(quantile_95(df), df) == pytest.approx(0.05, rel=1e-6)


def test_the_ends():
    assert two_sided_p(1.959963984540054, math.inf) == pytest.approx(0.05, abs=1e-12)
    assert math.isnan(two_sided_p(math.nan, 3)) and math.isnan(quantile_95(math.nan))
    assert quantile_95(0.01) == math.inf
