"""The interval holds what it says, and the others do not."""

import pytest

from o3v.comparison.coverage import cases_of, grid_of, measure
from o3v.comparison.simulate import Case, coverage
from o3v.errors import ConfigError

CONFIG = {"kinds": ["normal", "yes_no"], "seeds": [3], "videos": [40], "spreads": [[0.0, 1.0]], "repeats": 5}


@pytest.mark.parametrize("kind", ["normal", "yes_no"])
def test_video_effects_are_covered(kind):
    """Standard error of a share over 300 studies: 0.013."""
    found = coverage(Case(kind, seeds=3, videos=40, seed_sd=0.0, video_sd=1.0), repeats=300, seed=0)
    assert 0.91 <= found["in_use"] <= 1.0
    assert found["two_way_normal"] < found["in_use"]


def test_seed_effects_are_covered_by_it_alone():
    found = coverage(Case("normal", seeds=3, videos=60, seed_sd=0.5, video_sd=0.5), repeats=300, seed=1)
    assert found["in_use"] >= 0.88
    assert max(found["videos_only"], found["independent"]) < 0.6


@pytest.mark.slow
@pytest.mark.parametrize("case", cases_of(CONFIG | {"seeds": [3, 5], "spreads": [[0, 0], [0.1, 1], [1, 0.5]]}))
def test_no_case_is_far_from_95_percent(case):
    assert 0.90 <= coverage(case, repeats=1000, seed=2)["in_use"] <= 1.0


def test_cases_and_their_table():
    cases = cases_of(CONFIG)
    assert [case.kind for case in cases] == ["normal", "yes_no"]
    assert len(grid_of(measure(cases, 5, 0)).rows) == 2
    for key, value in (("kinds", ["odd"]), ("seeds", [1]), ("videos", [1]), ("repeats", 0), ("spreads", [[1.0]])):
        with pytest.raises(ConfigError, match=key):
            cases_of(CONFIG | {key: value})
