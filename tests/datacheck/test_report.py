"""What is written and shown: JSON lines, summary, tables that no strange text can break, and the cleaned file."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from o3v.datacheck.clean import check_target, left_out_path, write_clean
from o3v.datacheck.report import FINDINGS, SUMMARY, Compared, Report, show
from o3v.errors import ConfigError, DataError
from tests.datacheck.rows import FAULTY, GOOD, SPATIAL, TEMPORAL, changed, write_world
from tests.datacheck.running import run


def report(outcome, share=0.0):
    return Report(outcome, Compared({"tvgbench": 3}, {"vstar": "not here"}), share, None, 2, 1.0)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    strange = TEMPORAL | {"id": "\ud800\x1b[2J", "source": "[red]\ud800", "question": "[/bold]"}
    file = write_world(root, [*GOOD, FAULTY["span_edge"], FAULTY["media_missing"], FAULTY["box_outside"], strange])
    return root, file, run(root, file)


def test_files(world, tmp_path):
    _, file, outcome = world
    report(outcome).write(tmp_path)
    lines = [json.loads(line) for line in (tmp_path / FINDINGS).read_text().splitlines()]
    assert [(line["row"], line["kind"], line["severity"]) for line in lines] == [
        (5, "span_edge", "warning"),
        (6, "media_missing", "error"),
        (7, "box_outside", "error"),
        (8, "unreadable", "error"),
    ]
    assert set(lines[0]) == {"row", "id", "source", "task", "kind", "severity", "message"}
    summary = json.loads((tmp_path / SUMMARY).read_text())
    assert (summary["rows"], summary["rows_with_errors"], summary["missing_media"]) == (8, 3, 1)
    assert (summary["passed"], summary["file"]) == (False, str(file))
    assert summary["kinds"]["media_missing"]["sources"] == {"timerft": 1}
    assert summary["compared"] == {"tvgbench": 3} and summary["not_compared"] == {"vstar": "not here"}
    assert summary["tokens"]["text_counted_by"] == "estimate" and len(summary["tokens"]["largest"]) == 2
    groups = {(group["source"], group["task"]): group["rows_with_errors"] for group in summary["groups"]}
    assert groups["timerft", "temporal QA"] == 1 and groups["gqa", "visual QA"] == 0


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_tables(world, encoding):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict" if encoding == "utf-8" else "replace")
    show(report(world[2]), Console(file=stream, width=160))
    stream.flush()
    text = stream.buffer.getvalue().decode(encoding)
    assert "media_missing" in text and "not compared with vstar: not here" in text
    assert "FAILED: 3 of 8 rows have errors (37.50%, allowed 0.00%)" in text
    assert "\x1b[2J" not in text


@pytest.mark.parametrize(("share", "passed"), [(0.0, False), (0.37, False), (0.375, True), (1.0, True)])
def test_the_share_decides(world, share, passed):
    assert report(world[2], share).passed is passed


def test_a_cleaned_file_passes_and_says_what_it_left_out(world):
    root, _, outcome = world
    path = root / "json_data" / "clean.json"
    assert write_clean(outcome, path) == 5
    assert json.loads(path.read_text()) == [*GOOD, FAULTY["span_edge"]]
    texts = {row.text for row in outcome.subject.texts}
    assert all(line.rstrip(",") in texts for line in path.read_text().splitlines()[1:-1])
    left_out = [json.loads(line) for line in left_out_path(path).read_text().splitlines()]
    assert [line["row"] for line in left_out] == [6, 7, 8]
    again = run(root, path)
    assert {finding.severity for finding in again.findings} == {"warning"} and report(again).passed


def test_the_first_of_equal_rows_is_kept(tmp_path):
    rows = [changed(SPATIAL, answer="1"), TEMPORAL, TEMPORAL | {"id": "again"}, TEMPORAL | {"id": "and again"}]
    outcome = run(tmp_path, write_world(tmp_path, rows))
    write_clean(outcome, tmp_path / "clean.json")
    assert [row["id"] for row in json.loads((tmp_path / "clean.json").read_text())] == [rows[0]["id"], "temporal"]


def test_nothing_left_is_no_file(tmp_path):
    outcome = run(tmp_path, write_world(tmp_path, [FAULTY["media_missing"]]))
    with pytest.raises(DataError, match="no row is without errors"):
        write_clean(outcome, tmp_path / "clean.json")
    assert not (tmp_path / "clean.json").exists()


def test_the_file_itself_is_no_target(tmp_path):
    file = tmp_path / "rows.json"
    file.write_text("[]")
    for target in (file, tmp_path):
        with pytest.raises(ConfigError, match="wanted the name of a new file"):
            check_target(target, file)
    with pytest.raises(ConfigError, match="questions of a benchmark are not cleaned"):
        check_target(tmp_path / "new.json", None)
