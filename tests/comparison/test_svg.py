"""Charts: places, ticks, names."""

import math
import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from o3v.comparison.curves import Chart, Line
from o3v.comparison.svg import WIDTH, forest, nice_ticks, padded, plot, shortened
from tests.comparison.reports import report

NUMBERS = st.floats(-1e6, 1e6, allow_nan=False)


@given(NUMBERS, NUMBERS, st.integers(2, 8))
@settings(deadline=None)
def test_ticks_are_inside_round_and_even(a, b, count):
    low, high = padded(min(a, b), max(a, b))
    ticks = nice_ticks(low, high, count)
    assert 1 <= len(ticks) <= 2 * count + 2
    assert all(low - 1e-6 * abs(low) - 1e-9 <= tick <= high + 1e-6 * abs(high) + 1e-9 for tick in ticks)
    steps = {f"{y - x:.6g}" for x, y in pairwise(ticks)}
    assert len(steps) <= 1


def test_an_interval_is_drawn_where_it_is():
    drawn = str(forest(report().tables[0], "acc"))
    marks = re.findall(r'class="mark (\w+)"><title>([^<]*)</title><line x1="([\d.]+)" x2="([\d.]+)"', drawn)
    assert [kind for kind, *_ in marks] == ["good", "bad"]
    zero = float(re.search(r'<line x1="([\d.]+)"[^>]*class="zero"', drawn).group(1))
    assert float(marks[0][2]) > zero > float(marks[1][3])
    assert all(0 <= float(x) <= WIDTH for _, _, *ends in marks for x in ends)
    assert "+20.0 [+15.0 to +25.0], better" in marks[0][1]
    assert forest(report(tables=report().tables).tables[0], "absent") is None


def test_a_line_has_its_points_its_band_and_its_colour():
    line = Line(("b",), 3, (0.0, 10.0, 20.0), (0.0, 1.0, 2.0), (0.0, 0.5, 1.0), (0.0, 1.5, 3.0))
    drawn = str(plot(Chart("rl", "train/reward", 1, (line,)), {"a": 0, "b": 1}))
    assert 'class="series c1"' in drawn and drawn.count('class="band"') == 1
    xs = [float(x) for x in re.findall(r"[ML]([\d.]+),", re.search(r'd="([^"]+)"', drawn).group(1))]
    assert xs == sorted(xs) and math.isclose(xs[1] - xs[0], xs[2] - xs[1], abs_tol=0.2)
    shared = Line(("a", "b"), 1, (0.0,), (1.0,), (1.0,), (1.0,))
    assert 'class="series call"' in str(plot(Chart("sft", "m", 1, (shared,)), {"a": 0, "b": 1}))


@pytest.mark.parametrize("values", [(0.0, 0.0), (5.0, 5.0), (-1e-9, 1e-9), (1e5, 1e5 + 1)])
def test_flat_and_narrow_curves_are_drawn(values):
    line = Line(("a",), 1, (0.0, 1.0), values, values, values)
    assert "nan" not in str(plot(Chart("rl", "m", 1, (line,)), {"a": 0}))


def test_names_are_cut():
    assert shortened("a" * 16) == "a" * 16 and shortened("a" * 17) == "a" * 15 + "…"
