"""Many devices on paper: parts by hand, and what must grow or shrink with the number of devices."""

from dataclasses import replace

import pytest

from o3v.bench_scale import scale_rows
from o3v.planning.scale import Rates, scale_row, step_seconds
from o3v.planning.state import weight_bytes
from tests.commands import composed
from tests.planning.cases import rl, sizes_of

RATES = Rates(200.0, 1.0, 300.0, 30.0, 0.5, 8, 2.4, 12)
CASE = rl(engine="zero3", devices=8)


def test_parts_by_hand():
    parts = step_seconds(CASE, sizes_of("qwen2_5_vl_7b"), RATES)
    assert parts["decoding"] == pytest.approx(768 * 2 * 8_292_166_656 / 1e12)
    assert parts["video"] == pytest.approx(0.2)
    # weights for rollout, reference, forward and backward; gradients in float32 count twice
    assert parts["exchange"] == pytest.approx(0.5 * 7 / 8 * 6 * weight_bytes(CASE, sizes_of("qwen2_5_vl_7b")) / 300e9)


def test_the_slower_link_counts_beyond_a_node_and_more_devices_end_sooner():
    few, many = (scale_row("x", replace(CASE, devices=n), sizes_of("qwen2_5_vl_7b"), RATES, 36000) for n in (8, 64))
    assert many["seconds"]["exchange"] > 5 * few["seconds"]["exchange"]
    assert many["epoch_h"] < few["epoch_h"] and many["device_hours"] > few["device_hours"]


def test_the_command_has_a_row_for_each_model_and_number_of_devices(tmp_path):
    rows = scale_rows(composed("bench_scale", tmp_path))
    assert [(row["model"], row["devices"]) for row in rows] == [(m, n) for m in ("7B", "32B") for n in (8, 64, 512)]
