"""Annotation files and media: what is missing or broken is named."""

from pathlib import Path

import pytest

from o3v.benchmarks.mcq import rows
from o3v.errors import ConfigError, DataError


@pytest.mark.parametrize("name", ["rows.parquet", "rows.json"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}: no such file; set benchmark.root"):
        rows.read_table(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("rows.parquet", b"no", "not a parquet file"),
        ("rows.json", b"{", "not JSON"),
        ("rows.json", b"[1]", "not a list"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=f"{name}: {said}"):
        rows.read_table(tmp_path / name)


@pytest.mark.parametrize("value", [None, "A. x", [1, 2], ["x"] * 27])
def test_options_must_be_texts(value: object) -> None:
    with pytest.raises(DataError, match=r"f\.json: row 3: options"):
        rows.options_of({"options": value}, "options", "f.json: row 3")


@pytest.mark.parametrize("value", ["C", "a", "", None, "A."])
def test_an_answer_must_be_an_option(value: object) -> None:
    with pytest.raises(DataError, match=r"row 1: answer=.*\['A', 'B'\]"):
        rows.letter_of({"answer": value}, "answer", ("x", "y"), "row 1")


@pytest.mark.parametrize("value", [None, "", " ", 3])
def test_a_text_is_needed(value: object) -> None:
    with pytest.raises(DataError, match="row 1: question="):
        rows.text_of({"question": value}, "question", "row 1")


def row(key: str) -> rows.ChoiceRow:
    return rows.ChoiceRow(key, "v", Path("v.mp4"), "q", ("x", "y"), "A", "choice", {})


def test_ids_are_unique_and_sorted() -> None:
    assert [r.id for r in rows.unique_rows([row("b"), row("a")], Path("f"))] == ["a", "b"]
    with pytest.raises(DataError, match="f: question id 'a' occurs twice"):
        rows.unique_rows([row("a"), row("b"), row("a")], Path("f"))
    with pytest.raises(DataError, match="f: no questions"):
        rows.unique_rows([], Path("f"))


def test_videos_are_found_in_order(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    assert rows.find_video([first, second], "v") == first / "v.mp4"
    second.mkdir()
    (second / "v.mkv").write_bytes(b"")
    assert rows.find_video([first, second], "v") == second / "v.mkv"


def test_missing_media_are_counted_and_named(tmp_path: Path) -> None:
    (tmp_path / "0.mp4").write_bytes(b"")
    paths = [tmp_path / f"{n}.mp4" for n in range(6)] * 2
    with pytest.raises(
        ConfigError, match=r"b: 5 of 6 videos are missing: .*1\.mp4, .*2\.mp4, .*3\.mp4, \.\.\.; get them"
    ):
        rows.check_files(paths, "videos", "b", "get them")
    rows.check_files(paths[:1], "videos", "b", "")
