"""The nearest change that fits: smallest first, true, and absent where there is none."""

from dataclasses import replace

import pytest

from o3v.planning.changes import PlanError, check_fits, nearest_change
from o3v.planning.memory import GIB, plan_memory
from tests.planning.cases import rl, sft, sizes_of

SIZES = "qwen2_5_vl_7b"


def test_a_plan_that_fits_is_let_through():
    check_fits(sft(engine="zero3", devices=8), sizes_of(SIZES), 73.6)


@pytest.mark.parametrize(("case", "limit_gib"), [(sft(), 73.6), (rl(), 60.0), (rl(engine="zero3", devices=8), 30.0)])
def test_the_change_truly_fits(case, limit_gib):
    found = nearest_change(case, sizes_of(SIZES), limit_gib)
    assert found is not None and plan_memory(found.case, found.sizes).peak <= limit_gib * GIB
    with pytest.raises(PlanError, match=r"this plan needs .* GiB on each device and .*nearest change"):
        check_fits(case, sizes_of(SIZES), limit_gib)


def test_a_change_that_leaves_results_alone_comes_first():
    case = rl(engine="zero3", devices=8, prompts=8, prompts_per_pass=None, prompt_pass="split", minibatches=1)
    wide = plan_memory(case, sizes_of(SIZES)).peak / GIB
    narrow = plan_memory(replace(case, prompts_per_pass=1), sizes_of(SIZES)).peak / GIB
    found = nearest_change(case, sizes_of(SIZES), (wide + narrow) / 2)
    assert found.words == "trainer.prompts_per_pass=1"


def test_nothing_fits_a_card_of_one_gib():
    assert nearest_change(rl(), sizes_of(SIZES), 1.0) is None
    with pytest.raises(PlanError, match="no change that is known here"):
        check_fits(rl(), sizes_of(SIZES), 1.0)
