"""A plan beside a real step's memory, with generous bounds; the narrow ones are in experiments/plan."""

import pytest

from o3v.bench_plan import _case
from o3v.measure.worker import ArmError
from o3v.planning.measured import check_layout, check_step
from o3v.planning.together import LayoutCase
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


def layout_case(layout, tmp_path, **changes):
    cfg = composed("bench_plan", tmp_path, "completion=8", "vocab_size=8000")
    return LayoutCase(_case(cfg, STEP | {"kind": "sft", "checkpointing": True} | changes), layout, 2, 0)


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["fsdp2", "zero3"])
def test_two_processes_hold_what_their_plan_says(layout, tmp_path):
    if layout != "fsdp2":
        pytest.importorskip("deepspeed")
    checked = check_layout(layout_case(layout, tmp_path), "sft", 1)
    assert abs(checked.error) < 0.25 and checked.moment in ("backward", "optimizer")


@pytest.mark.slow
def test_a_process_that_fails_ends_the_others(tmp_path):
    with pytest.raises(ArmError, match="a process failed"):
        check_layout(layout_case("fsdp2", tmp_path, prompt=8), "sft", 1)
