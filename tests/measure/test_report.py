"""Ratios, the distance from the floor, and the file that collects the cases."""

import json

import pytest

from o3v.measure.report import Report, machine, over_shared, table, write_report
from o3v.measure.worker import ArmResult
from tests.measure.cases import tiny_case
from tests.measure.test_exactness import GOOD


def seconds(step):
    return {"rollout": {"cpu_s": step / 4}, "forward": {"cpu_s": step / 4}, "step": {"cpu_s": step}}


def result(arm, first, later, peak_mb, gflops=100.0, onednn=200.0):
    whole = {"products": 1.1e9, "attention": 0.2e9, "vision_calls": 2.0, "vision_patches": 72.0, "tokens": 90.0}
    return ArmResult(
        arm=arm,
        first=seconds(first),
        later=[seconds(step) for step in later],
        counts={"step": whole, "rollout": whole},
        base_mb=500.0,
        peak_mb=peak_mb,
        floor={"rollout": {"products": 0.4e9, "attention": 0.1e9}, "backward": {"products": 0.6e9, "attention": 0.1e9}},
        frames=1,
        patches=36,
        gflops={"torch": gflops, "onednn": onednn},
        notes=[f"{arm} has a note"],
    )


@pytest.fixture
def report():
    runs = (
        result("shared", 2.0, [1.5, 1.0], 100.0, gflops=90.0),
        result("trl", 9.0, [8.0], 400.0, gflops=120.0),
        result("shared", 1.8, [1.2], 110.0),
    )
    return Report(tiny_case(), (GOOD,), runs)


def test_the_quickest_step_counts_and_the_highest_memory(report):
    shared = report.arm("shared")
    assert shared["first_cpu_s"]["step"] == 1.8
    assert shared["later_cpu_s"] == {"rollout": 0.25, "forward": 0.25, "step": 1.0}
    assert shared["peak_mb"] == 110.0
    assert shared["processes"] == 2


def test_the_floor_time_is_at_the_best_rate_of_any_process(report):
    assert report.floor_gflop() == pytest.approx(1.2)
    assert report.summary()["floor"]["cpu_s"] == pytest.approx(1.2 / 120)
    assert report.arm("trl")["later_over_floor"] == pytest.approx(8.0 / (1.2 / 120))
    assert report.arm("trl")["later_over_onednn_floor"] == pytest.approx(8.0 / (1.2 / 200))


def test_counts_are_held_against_the_floor_alike(report):
    counts = report.arm("trl")["counts"]
    assert counts["products_over_floor"] == pytest.approx(1.1)
    assert counts["both_over_floor"] == pytest.approx(1.3 / 1.2)
    assert counts["vision_prompts"] == 2.0


def test_others_are_held_against_the_shared_arm(report):
    ratios = report.summary()["over_shared"]
    assert ratios == {"trl": pytest.approx({"first": 5.0, "later": 8.0, "peak": 400 / 110})}
    assert over_shared({"trl": report.arm("trl")}) == {}


def test_the_file_keeps_other_cases_and_replaces_its_own(report, tmp_path):
    other = Report(tiny_case("completion=6"), (GOOD,), report.runs[:1])
    file = write_report(report, tmp_path / "new", ["python", "-m", "o3v.bench", "step", "prompt=60"])
    write_report(other, tmp_path / "new", ["python", "-m", "o3v.bench", "step", "completion=6"])
    write_report(
        Report(report.case, (GOOD,), report.runs[:2]), tmp_path / "new", ["python", "-m", "o3v.bench", "step", "again"]
    )
    cases = json.loads(file.read_text())["cases"]
    assert set(cases) == {report.case.label, other.case.label}
    assert cases[report.case.label]["command"] == "python -m o3v.bench step again"
    assert cases[report.case.label]["exactness"][0]["controls"] == {"wrong": 0.5}
    assert set(cases[report.case.label]["ran_on"]) == set(machine())
    assert (file.parent / "step_cost.png").stat().st_size > 5000


def test_the_table_has_a_line_an_arm(report):
    shown = table(report)
    assert shown.row_count == 2
    assert [list(column.cells)[1] for column in shown.columns][:1] == ["trl"]
    assert "8.00" in list(shown.columns[8].cells)


def test_labels_tell_cases_apart():
    given = [
        "completion=6",
        "micro_batch=2",
        "objective.kl_coef=0.1",
        "model.gradient_checkpointing=true",
        "prompt_pass=mask",
        "group_size=2",
        "model=tiny_qwen3_vl",
    ]
    labels = {tiny_case(override).label for override in given}
    assert len(labels | {tiny_case().label}) == len(given) + 1
