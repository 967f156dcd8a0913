"""Published tables recompute from their own columns: Open-o3 Video's table 1 and V-STaR's base model."""

import numpy as np
import pytest

from o3v.benchmarks.vstar.aggregate import derived
from tests.benchmarks.published import RECOMPUTED, TABLE_1

V_STAR_BASE = (54.53, 11.48, 7.61, 13.59, 2.00, 23.96, 32.39)  # arXiv:2503.11495, tables 4 and 5


def recompute(row) -> tuple[float, float]:
    names = ("acc", "chain1/tiou", "chain2/tiou", "chain1/viou", "chain2/viou")
    means = {name: np.array([value / 100]) for name, value in zip(names, row, strict=False)}
    made = derived(means, "corrected")
    return tuple(100 * float(made[name](means)[0]) for name in ("mAM", "mLGM"))


@pytest.mark.parametrize("model", [*TABLE_1, *RECOMPUTED])
def test_table_1(model):
    row = (TABLE_1 | RECOMPUTED)[model]
    assert recompute(row) == pytest.approx(row[5:], abs=0.1)


def test_the_base_model_of_v_star():
    assert recompute(V_STAR_BASE) == pytest.approx(V_STAR_BASE[5:], abs=0.01)
