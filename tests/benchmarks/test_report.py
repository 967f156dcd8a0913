"""Reports: what stands beside what, in three forms."""

import io
import json

import pytest
from rich.console import Console

from o3v.benchmarks.report import build_report, write_report
from o3v.benchmarks.shapes import SHOWN
from o3v.errors import ConfigError, DataError, StorageError
from tests.benchmarks import scenes
from tests.benchmarks.test_shapes import benchmark, records_of


def two_results():
    samples = [make(f"{make.__name__}{i}") for make in (scenes.where, scenes.when, scenes.what) for i in range(6)]
    good = [(s, scenes.right_text(s) if not s.id.endswith("0") else "") for s in samples]
    poor = [(s, scenes.right_text(s) if s.id.endswith("5") else "") for s in samples]
    return {"good": records_of(good), "poor": records_of(poor)}


def report():
    return build_report("shapes", two_results(), benchmark(), [("good", "poor")])


def test_results_and_differences():
    found = report()
    assert found.results["good"]["acc"].value == pytest.approx(5 / 6)
    difference = found.differences["good", "poor"]
    assert difference["acc"].mean == pytest.approx(4 / 6) and difference["acc"].n == 6
    assert difference["acc"].se == pytest.approx(difference["acc"].se_independent)
    expected = found.results["good"]["mAM"].value - found.results["poor"]["mAM"].value
    assert difference["mAM"].mean == pytest.approx(expected) and difference["mAM"].se > 0
    assert difference["mAM"].low < expected < difference["mAM"].high and difference["mAM"].n == 18
    assert difference["reward/total@visual QA"].mean == pytest.approx(4 / 6)


def test_three_forms(tmp_path):
    found = report()
    write_report(found, tmp_path / "out", SHOWN)
    markdown = (tmp_path / "out" / "report.md").read_text()
    assert "| good | 0.833 ±" in markdown and "| good - poor | acc | +66.7 ±" in markdown and "| n | 6 |" in markdown
    value = json.loads((tmp_path / "out" / "report.json").read_text())
    assert value["results"]["good"]["mLGM"]["n"] == 18
    assert value["differences"][0]["columns"]["mAM"]["se_independent"] is None
    out = io.StringIO()
    console = Console(file=out, width=250)
    console.print(found.results_grid(SHOWN).rich(), found.differences_grid(SHOWN).rich())
    assert "mAM" in out.getvalue() and "good - poor" in out.getvalue()
    assert "temporal QA (MCQ)" not in out.getvalue()  # no result has it


def test_a_column_that_one_lacks_is_a_dash():
    results = {"a": records_of([(scenes.when("x"), "")]), "b": records_of([(scenes.where("y"), "")])}
    rows = dict((row[0], row[1:]) for row in build_report("t", results, benchmark(), []).results_grid(SHOWN).rows)
    assert "-" in rows["a"] and rows["n"][-1] == "1"


def test_mistakes_are_told(tmp_path):
    with pytest.raises(ConfigError, match="'best'"):
        build_report("t", two_results(), benchmark(), [("good", "best")])
    apart = {"a": records_of([(scenes.when("x"), "")]), "b": records_of([(scenes.when("y"), "")])}
    with pytest.raises(DataError, match="no sample in common"):
        build_report("t", apart, benchmark(), [("a", "b")])
    (tmp_path / "file").touch()
    with pytest.raises(StorageError):
        write_report(report(), tmp_path / "file", SHOWN)
