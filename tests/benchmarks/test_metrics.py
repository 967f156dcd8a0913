"""V-STaR's numbers against published tables (arXiv:2510.20579, Table 1; arXiv:2503.11495) and their edges."""

import math

import numpy as np
import pytest

from o3v.benchmarks.metrics import arithmetic_mean, log_geometric_mean, mean_over_chains, recall_at

# Acc, tIoU chain 1 and 2, vIoU chain 1 and 2, mAM, mLGM: rows that agree with their own inputs
PUBLISHED = {
    "GPT-4o": (60.8, 16.7, 12.8, 6.5, 3.0, 26.8, 38.2),
    "Gemini-2-Flash": (53.0, 24.5, 23.8, 4.6, 2.2, 26.9, 35.6),
    "LLaVA-Video": (49.5, 10.5, 12.2, 1.9, 1.3, 20.8, 27.3),
    "VideoChat2": (36.2, 13.7, 12.5, 2.5, 1.0, 17.0, 20.3),
    "Qwen2.5-VL-7B": (33.5, 15.4, 13.8, 17.0, 2.5, 19.3, 22.4),
    "Sa2VA-8B": (16.4, 0.1, 0.0, 32.3, 37.5, 17.1, 20.3),
    "Open-o3-Video-7B": (61.0, 24.5, 24.0, 25.4, 6.0, 33.7, 46.6),
    "Qwen3-VL-4B": (59.6, 18.6, 19.2, 26.8, 7.7, 31.9, 43.7),
    "Open-o3-Video-4B": (59.7, 25.1, 23.8, 31.2, 8.1, 34.6, 47.3),
    "Qwen3-VL-8B": (42.9, 23.5, 24.4, 27.3, 7.1, 28.0, 34.4),
    "Open-o3-Video-8B": (61.1, 24.9, 23.5, 33.2, 8.8, 35.5, 49.0),
    "Open-o3-Video-32B": (64.6, 26.4, 26.0, 33.6, 11.9, 37.9, 53.7),
}
# Rows whose published number disagrees with their inputs; the corrected one does agree
CORRECTED = {
    "Video-LLaMA3": (41.9, 23.0, 23.1, 0.9, 0.2, 21.83, 27.0),
    "InternVL-2.5-8B": (44.2, 8.7, 7.8, 0.7, 0.1, 17.6, 22.45),
    "Qwen3-VL-32B, Acc 57.5": (57.5, 24.5, 25.7, 30.9, 7.5, 33.9, 45.6),
}


def over_chains(formula, row):
    acc, t1, t2, v1, v2 = (value / 100 for value in row[:5])
    return 100 * mean_over_chains(formula(acc, t1, v1), formula(acc, t2, v2))


@pytest.mark.parametrize("model", PUBLISHED)
def test_published_rows_recompute(model):
    row = PUBLISHED[model]
    assert over_chains(arithmetic_mean, row) == pytest.approx(row[5], abs=0.1)
    assert over_chains(log_geometric_mean, row) == pytest.approx(row[6], abs=0.1)


@pytest.mark.parametrize("model", CORRECTED)
def test_rows_that_need_a_correction_recompute_with_it(model):
    row = CORRECTED[model]
    assert over_chains(arithmetic_mean, row) == pytest.approx(row[5], abs=0.1)
    assert over_chains(log_geometric_mean, row) == pytest.approx(row[6], abs=0.1)


def test_a_row_with_swapped_numbers_shows():
    row = (20.5, 13.5, 14.8, 10.1, 3.5)
    assert over_chains(arithmetic_mean, row) == pytest.approx(13.82, abs=0.1)
    assert over_chains(log_geometric_mean, row) == pytest.approx(15.10, abs=0.1)


@pytest.mark.parametrize("wrong", ["no_third", "log10", "one_chain"])
def test_wrong_versions_are_caught(wrong):
    row = PUBLISHED["Open-o3-Video-7B"]
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
