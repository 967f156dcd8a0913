"""A plan beside a real step's memory, with generous bounds; the narrow ones are in experiments/plan."""

import pytest

from o3v.bench_plan import _case
from o3v.planning.measured import check_step
from tests.commands import composed

STEP = {"prompt": 300, "rows": 2, "pass": "kept", "checkpointing": False}


@pytest.mark.parametrize("kind", ["sft", pytest.param("rl", marks=pytest.mark.slow)])
def test_a_small_step_holds_what_its_plan_says(kind, tmp_path):
    cfg = composed("bench_plan", tmp_path, "completion=8", "vocab_size=8000")
    checked = check_step(_case(cfg, STEP | {"kind": kind}), kind, 1)
    assert abs(checked.error) < 0.25
    assert checked.row()["error"] == checked.error and sum(checked.parts_mib.values()) == pytest.approx(
        checked.planned_mib
    )
