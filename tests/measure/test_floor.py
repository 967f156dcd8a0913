"""The floor's arithmetic: against sizes worked out by hand, and against a table that was made independently."""

from types import SimpleNamespace

import pytest

from o3v.measure.floor import Work, dense_work, floor_work, language_work, pass_work, total, vision_work
from o3v.measure.model import random_policy
from tests.measure.cases import case, tiny_case

TEXT = SimpleNamespace(
    hidden_size=8,
    num_attention_heads=4,
    num_key_value_heads=2,
    num_hidden_layers=3,
    intermediate_size=16,
    vocab_size=10,
)
VISION = SimpleNamespace(
    patch_size=2,
    temporal_patch_size=2,
    spatial_merge_size=2,
    hidden_size=4,
    intermediate_size=6,
    depth=2,
    out_hidden_size=8,
    window_size=4,
    fullatt_block_indexes=[1],
)


def test_a_token_through_the_language_model_by_hand():
    queries, keys, values, output, mlp = 8 * 8, 8 * 4, 8 * 4, 8 * 8, 3 * 8 * 16
    found = language_work(TEXT, tokens=1, pairs=5, scored=1)
    assert found.products == 2 * 3 * (queries + keys + values + output + mlp) + 2 * 8 * 10
    assert found.attention == 3 * 5 * (2 * 8 + 2 * 8)  # scores, then values


def test_a_frame_through_the_vision_tower_by_hand():
    """8 px: 16 patches, 4 merged units; windows of 2 x 2 patches in the first block, all pairs in the second."""
    embed, block, merger = 3 * 2 * 4 * 4, 4 * 16 + 3 * 4 * 6, 16 * 16 + 16 * 8
    found = vision_work(VISION, image_px=8)
    assert found.products == 2 * 16 * (embed + 2 * block) + 2 * 4 * merger
    assert found.attention == 4 * 4 * (4 * 4**2 + 16**2)


def test_a_window_that_does_not_fit_leaves_a_smaller_one():
    """12 px: 6 patches a side, windows of 4 and 2."""
    wide = SimpleNamespace(**vars(VISION) | {"window_size": 8, "fullatt_block_indexes": []})
    assert vision_work(wide, image_px=12).attention == 2 * 4 * 4 * (4**2 + 2**2) ** 2


def test_the_prompt_is_read_once_and_the_completions_three_times():
    work = pass_work(SimpleNamespace(text_config=TEXT, vision_config=VISION), 10, 4, 2, 8)
    floor, dense = floor_work(work, 5, with_reference=False), dense_work(work, 5, with_reference=False)
    assert total(floor) == 3 * (work.vision + work.prompt) + 20 * work.completion
    assert total(dense) == 20 * work.row
    assert floor["forward"] == 5 * work.completion


def test_a_reference_costs_one_more_forward_pass():
    work = pass_work(SimpleNamespace(text_config=TEXT, vision_config=VISION), 10, 4, 2, 8)
    plain, more = (total(floor_work(work, 5, with_reference=flag)).total for flag in (False, True))
    assert more - plain == (work.vision + work.prompt + 5 * work.completion).total


def test_work_adds_by_kind():
    assert 2 * Work(1, 2) + Work(3, 4) == Work(5, 8)


@pytest.fixture(scope="module")
def config():
    return random_policy(case()).model.config


@pytest.mark.parametrize(
    ("prompt", "completion", "expected"),
    [
        (1024, 128, (442, 638, 1030)),
        (1024, 256, (642, 1038, 1831)),
        (2048, 128, (774, 1004, 1465)),
        (2048, 256, (1008, 1473, 2403)),
        (4096, 128, (1598, 1897, 2495)),
        (4096, 256, (1901, 2503, 3708)),
    ],
)
def test_the_measured_model_has_the_recorded_floor(config, prompt, completion, expected):
    """GFLOP for groups of 4, 8 and 16, worked out by another program before this one was written."""
    work = pass_work(config, prompt, completion, frames=(prompt - 10) // 66, image_px=224)
    found = tuple(round(total(floor_work(work, size, with_reference=False)).total / 1e9) for size in (4, 8, 16))
    assert found == expected


def test_both_families_have_a_floor():
    for name in ("tiny_qwen2_5_vl", "tiny_qwen3_vl"):
        config = random_policy(tiny_case(f"model={name}")).model.config
        assert pass_work(config, 60, 5, 3, 96 if "3" in name else 84).vision.products > 0
