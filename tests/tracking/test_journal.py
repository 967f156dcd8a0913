"""The journal: what a continued run may repeat without a duplicate, and what a killed one leaves behind."""

import json

import pytest
from PIL import Image

from o3v.errors import DataError
from o3v.tracking.journal import Journal, cut_partial_line, file_name, read_lines, set_aside
from o3v.tracking.run import RunFolder


def points(path):
    return [(record["step"], record["values"]) for _, record in read_lines(path)]


def test_a_continued_run_repeats_without_duplicates(tmp_path):
    first = Journal(RunFolder(tmp_path))
    for step in range(4):
        first.add_metrics({"loss": step}, step)
    first.add_metrics({"val": 1.0}, 1)
    again = Journal(RunFolder(tmp_path))  # continued from the checkpoint of step 2
    for step in range(2, 6):
        again.add_metrics({"loss": step}, step)
        again.add_metrics({"val": 1.0}, step)
    lines = points(again.metrics_path)
    assert [step for step, values in lines if "loss" in values] == [0, 1, 2, 3, 4, 5]
    assert [step for step, values in lines if "val" in values] == [1, 2, 3, 4, 5]


def test_within_one_life_nothing_is_dropped(tmp_path):
    journal = Journal(RunFolder(tmp_path))
    for step in (5, 5, 3):
        assert journal.add_metrics({"a": 1}, step)
    assert [step for step, _ in points(journal.metrics_path)] == [5, 5, 3]


def test_a_line_cut_by_a_kill_is_dropped(tmp_path):
    journal = Journal(RunFolder(tmp_path))
    journal.add_metrics({"a": 1}, 0)
    with journal.metrics_path.open("a") as handle:
        handle.write('{"step": 1, "val')
    assert len(points(journal.metrics_path)) == 1
    again = Journal(RunFolder(tmp_path))
    again.add_metrics({"a": 2}, 1)
    assert points(again.metrics_path) == [(0, {"a": 1.0}), (1, {"a": 2.0})]


@pytest.mark.parametrize("content", ["", "no newline", "x" * 200_000, "a\n" + "x" * 200_000])
def test_cut_partial_line(tmp_path, content):
    path = tmp_path / "f"
    path.write_text(content)
    cut_partial_line(path)
    assert path.read_text() == content[: content.rfind("\n") + 1]
    cut_partial_line(tmp_path / "absent")


def test_a_broken_line_is_named(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"a": 1}\nbroken\n{"a": 1}\n')
    with pytest.raises(DataError, match=r"metrics\.jsonl:2"):
        list(read_lines(path))
    path.write_text("{}\n[1]\n")
    with pytest.raises(DataError, match=r":2: a JSON object is expected, not list"):
        list(read_lines(path))


def test_reading_goes_on_from_a_byte(tmp_path):
    path = tmp_path / "f"
    path.write_text('{"ä": 1}\n{"b": 2}\n')
    (end, _), (last, _) = list(read_lines(path))
    assert list(read_lines(path, start_byte=end)) == [(last, {"b": 2})]
    assert list(read_lines(path, start_byte=10_000)) == []


def test_tables_and_images(tmp_path):
    journal = Journal(RunFolder(tmp_path))
    picture = Image.new("RGB", (4, 4))
    assert journal.add_table("train/completions", [{"text": "é"}, {"text": "b"}], 3)
    assert journal.add_table("train/completions", [{"text": "c"}], 4)
    assert journal.add_image("evidence/a b", picture, 3) is not None
    again = Journal(RunFolder(tmp_path))
    assert not again.add_table("train/completions", [{"text": "b"}], 4)
    assert again.add_table("train/completions", [{"text": "d"}], 5)
    assert again.add_image("evidence/a b", picture, 3) is None
    rows = [json.loads(line) for line in (tmp_path / "tables" / "train_completions.jsonl").read_text().splitlines()]
    assert [(row["step"], row["text"]) for row in rows] == [(3, "é"), (3, "b"), (4, "c"), (5, "d")]


def test_file_names_cannot_leave_the_folder():
    assert file_name("../../etc/passwd") == "etc_passwd"
    assert file_name("//") == "unnamed"


def test_a_run_that_is_run_again_gets_a_new_record(tmp_path):
    folder = RunFolder(tmp_path)
    assert set_aside(folder) is None
    for number in (1, 2):
        journal = Journal(folder)
        journal.add_metrics({"a": number}, 0)
        journal.add_table("t", [{"x": number}], 0)
        folder.write_json("mlflow.json", {"run_id": number})
        assert points(journal.metrics_path) == [(0, {"a": float(number)})]
        assert set_aside(folder) == tmp_path / f"earlier-{number}"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["earlier-1", "earlier-2"]
    assert points(tmp_path / "earlier-1" / "metrics.jsonl") == [(0, {"a": 1.0})]
    assert folder.read_json("earlier-2/mlflow.json") == {"run_id": 2}
