"""Training curves: mean and range of seeds, shared runs, unfinished ones, bins."""

from dataclasses import replace

import pytest

from o3v.comparison.collect import collect
from o3v.comparison.curves import MAX_POINTS, build_charts
from tests.comparison.studies import declare, finish, write_curves

PATTERNS = ["train/reward", "train/*"]


def charts_of(study):
    return {(chart.stage, chart.metric): chart for chart in build_charts(collect(study, PATTERNS), PATTERNS)}


def test_mean_and_range_over_seeds(tmp_path):
    study = declare(tmp_path)
    for (arm, seed), (train, _) in study.members.items():
        curve = [float(seed), 2.0 * seed, 3.0 * seed]
        finish(study.runs[train].folder, curves={"train/reward": curve, "train/faults": [0.0] * 3})
        assert arm in study.arms
    charts = charts_of(study)
    assert list(charts) == [("rl", "train/reward")]  # a count that stays 0 everywhere says nothing
    line = charts["rl", "train/reward"].lines[0]
    assert (line.arms, line.seeds, line.steps) == (("base",), 3, (0.0, 1.0, 2.0))
    assert (line.mean, line.low, line.high) == ((1.0, 2.0, 3.0), (0.0, 0.0, 0.0), (2.0, 4.0, 6.0))


def test_arms_that_share_their_runs_are_one_line(tmp_path):
    study = declare(tmp_path, arms=("base", "x", "y"), seeds=(0,))
    shared = {**study.members, ("x", 0): study.members["base", 0]}
    study = replace(study, members=shared)
    for key in ("rl-base0", "rl-y0"):
        finish(study.runs[key].folder, curves={"train/reward": [1.0, 2.0]})
    assert [line.arms for line in charts_of(study)["rl", "train/reward"].lines] == [("base", "x"), ("y",)]


def test_finished_runs_alone_where_there_are_any(tmp_path):
    study = declare(tmp_path, arms=("base",), seeds=(0, 1))
    finish(study.runs["rl-base0"].folder, curves={"train/reward": [1.0, 2.0, 3.0]})
    write_curves(study.runs["rl-base1"].folder, {"train/reward": [5.0]})
    (line,) = charts_of(study)["rl", "train/reward"].lines
    assert (line.seeds, line.mean) == (1, (1.0, 2.0, 3.0))


def test_a_mean_never_changes_its_number_of_seeds(tmp_path):
    study = declare(tmp_path, arms=("base",), seeds=(0, 1))
    for seed, curve in enumerate(([1.0, 2.0, 3.0], [3.0, 4.0])):
        write_curves(study.runs[f"rl-base{seed}"].folder, {"train/reward": curve})
    (line,) = charts_of(study)["rl", "train/reward"].lines
    assert (line.seeds, line.mean) == (2, (2.0, 3.0))


def test_long_runs_are_averaged_in_bins(tmp_path):
    study = declare(tmp_path, arms=("base",), seeds=(0,))
    steps = 10 * MAX_POINTS
    finish(study.runs["rl-base0"].folder, curves={"train/reward": [float(k) for k in range(steps)]})
    chart = charts_of(study)["rl", "train/reward"]
    assert chart.bin_steps == 10 and len(chart.lines[0].steps) == MAX_POINTS
    assert (chart.lines[0].steps[0], chart.lines[0].mean[0]) == (4.5, 4.5)


def test_values_that_are_no_numbers_leave_a_gap(tmp_path):
    study = declare(tmp_path, arms=("base",), seeds=(0,))
    finish(study.runs["rl-base0"].folder, curves={"train/kl": [1.0, float("nan"), 3.0]})
    (line,) = charts_of(study)["rl", "train/kl"].lines
    assert line.mean == pytest.approx((1.0, 3.0))
