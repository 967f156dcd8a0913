"""V-STaR's numbers against published tables (arXiv:2510.20579, Table 1; arXiv:2503.11495) and their edges."""

import math

import numpy as np
import pytest

from o3v.benchmarks.metrics import arithmetic_mean, log_geometric_mean, mean_over_chains, recall_at
from tests.benchmarks.published import RECOMPUTED, TABLE_1


def over_chains(formula, row):
    acc, t1, t2, v1, v2 = (value / 100 for value in row[:5])
    return 100 * mean_over_chains(formula(acc, t1, v1), formula(acc, t2, v2))


@pytest.mark.parametrize("model", TABLE_1)
def test_published_rows_recompute(model):
    row = TABLE_1[model]
    assert over_chains(arithmetic_mean, row) == pytest.approx(row[5], abs=0.1)
    assert over_chains(log_geometric_mean, row) == pytest.approx(row[6], abs=0.1)


@pytest.mark.parametrize("model", RECOMPUTED)
def test_rows_that_need_a_correction_recompute_with_it(model):
    row = RECOMPUTED[model]
    assert over_chains(arithmetic_mean, row) == pytest.approx(row[5], abs=0.1)
    assert over_chains(log_geometric_mean, row) == pytest.approx(row[6], abs=0.1)


def test_a_row_with_swapped_numbers_shows():
    row = (20.5, 13.5, 14.8, 10.1, 3.5)
    assert over_chains(arithmetic_mean, row) == pytest.approx(13.82, abs=0.1)
    assert over_chains(log_geometric_mean, row) == pytest.approx(15.10, abs=0.1)


@pytest.mark.parametrize("wrong", ["no_third", "log10", "one_chain"])
def test_wrong_versions_are_caught(wrong):
    row = TABLE_1["Open-o3-Video-7B"]
    formulas = {
        "no_third": lambda a, t, v: 3 * log_geometric_mean(a, t, v),
        "log10": lambda a, t, v: log_geometric_mean(a, t, v) / math.log(10),
        "one_chain": log_geometric_mean,
    }
    value = over_chains(formulas[wrong], row)
    if wrong == "one_chain":
        value = 100 * log_geometric_mean(*(row[i] / 100 for i in (0, 1, 3)))
    assert abs(value - row[6]) > 1


def test_a_perfect_score_is_finite_and_arrays_work():
    perfect = log_geometric_mean(np.array([1.0, 0.0]), np.array([1.0, 0.0]), np.array([1.0, 0.0]))
    assert perfect == pytest.approx([-math.log(1e-6), 0.0])


def test_recall_counts_the_threshold_itself():
    assert recall_at([0.5, 0.49], 0.5) == 0.5
    assert recall_at([], 0.5) == 0.0
