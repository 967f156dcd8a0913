"""Readings by phase."""

from contextlib import contextmanager

import pytest
import torch

from o3v.measure.clock import Meter, cpu_seconds, peak_memory, product_rate, reset_peak_memory
from o3v.models.linear import onednn_product, torch_product


@contextmanager
def ticking():
    """Every reading is one more than the one before."""
    ticks = iter(range(100))
    yield lambda: {"ticks": float(next(ticks))}


def test_phases_add_up_and_the_step_is_around_them():
    meter = Meter(ticking)
    with meter.step():
        for _ in range(2):
            with meter.phase("forward"):
                pass
        with meter.phase("backward"):
            pass
    assert meter.phases == {"forward": {"ticks": 2.0}, "backward": {"ticks": 1.0}, "step": {"ticks": 7.0}}


def test_outside_of_a_step_nothing_is_read():
    meter = Meter(ticking)
    with meter.phase("forward"):
        pass
    assert meter.phases == {}


def test_cpu_seconds_do_not_pass_while_nothing_is_done():
    import time

    with cpu_seconds() as read:
        before = read()["cpu_s"]
        time.sleep(0.2)
        idle = read()["cpu_s"] - before
        torch.randn(600, 600) @ torch.randn(600, 600)
        assert read()["cpu_s"] - before >= idle
    assert idle < 0.1


def test_the_peak_is_of_the_time_since_it_was_forgotten():
    first = bytearray(200 << 20)
    del first
    base = reset_peak_memory()
    second = bytearray(100 << 20)
    del second
    assert peak_memory() - base == pytest.approx(100, abs=10)


@pytest.mark.parametrize("product", [torch_product, onednn_product])
def test_the_rate_of_this_machine_is_plausible(product):
    assert 1 < product_rate(product, rounds=1) < 1e5
