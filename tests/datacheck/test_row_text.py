"""A file's rows one by one: broken ones cost themselves, good ones keep their exact text."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from o3v.datacheck import row_text
from o3v.datacheck.row_text import read_row_texts
from o3v.errors import DataError

ROWS = [{"id": str(n), "text": "x, } {", "inner": [{"id": n}, {"id": [n]}]} for n in range(60)]

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


def write(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("indent", [None, 1, 4])
def test_rows_keep_their_text(tmp_path, indent):
    rows = read_row_texts(write(tmp_path / "r.json", json.dumps(ROWS, indent=indent)))
    assert [json.loads(row.text) for row in rows] == ROWS
    assert [row.number for row in rows] == list(range(1, 61))
    assert all(row.fault is None for row in rows)


def test_one_object_a_line_and_a_byte_order_mark(tmp_path):
    lines = "\n".join(json.dumps(row) for row in ROWS)
    rows = read_row_texts(write(tmp_path / "r.jsonl", b"\xef\xbb\xbf" + lines.encode()))
    assert [json.loads(row.text) for row in rows] == ROWS


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(VALUES, min_size=1, max_size=6))
def test_any_list_is_read_as_json_reads_it(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("any") / "r.json"
    found = read_row_texts(write(path, json.dumps(rows)))
    assert [json.loads(row.text) for row in found] == rows


@pytest.mark.parametrize("patience", [0, 20, 1000])
def test_broken_rows_cost_themselves(tmp_path, monkeypatch, patience):
    monkeypatch.setattr(row_text, "PATIENCE", patience)
    parts = [json.dumps(row) for row in ROWS]
    for number in range(1, 60, 2):
        parts[number] = parts[number][: len(parts[number]) // 2]
    found = read_row_texts(write(tmp_path / "r.json", "[" + ",\n".join(parts) + "]"))
    good = [json.loads(row.text) for row in found if row.fault is None and '"text"' in row.text]
    assert good == ROWS[::2]
    assert sum(row.fault is not None for row in found) >= 30


def test_bytes_that_are_no_utf8_cost_their_row(tmp_path):
    text = json.dumps(ROWS).encode().replace(b'"3"', b'"\xe9"', 1)
    found = read_row_texts(write(tmp_path / "r.json", text))
    assert [row.number for row in found if row.fault] == [4]
    assert "byte 0xe9 at character 8 of the row" in found[3].fault


def test_numbers_and_brackets_without_end_cost_their_row(tmp_path):
    texts = ['{"id": "a"}', '{"id": ' + "9" * 9000 + "}", '{"id": ' + "[" * 90_000 + "]" * 90_000 + "}", '{"id": "b"}']
    found = read_row_texts(write(tmp_path / "r.json", f"[{','.join(texts)}]"))
    assert [row.fault is None for row in found] == [True, False, False, True]


@pytest.mark.parametrize("text", ["", "[]", " [ ] ", "nothing", "12", b"\xff\xfe[\x00{\x00"])
def test_what_is_no_list_of_rows_is_refused(tmp_path, text):
    with pytest.raises(DataError, match=r"r\.json: (wanted a JSON list|holds no row)"):
        read_row_texts(write(tmp_path / "r.json", text))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"no file .*gone\.json"):
        read_row_texts(tmp_path / "gone.json")
