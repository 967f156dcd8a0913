"""Answers of other programs: the forms that are read, and what is named where another one comes."""

import json
from pathlib import Path

import pytest

from o3v.benchmarks.mcq.saved import read_answers
from o3v.errors import DataError
from tests.benchmarks.mcq.published import videomme

ANSWERS = {"001-1": "<answer>B</answer>", "002-1": ""}
FORMS = {
    "object": json.dumps({"001-1": "<answer>B</answer>", "002-1": None}),
    "list": json.dumps([{"id": "001-1", "text": "<answer>B</answer>"}, {"id": "002-1", "prediction": ""}]),
    "lines": '{"question_id": "001-1", "response": "<answer>B</answer>"}\n\n{"id": "002-1", "answer": null}\n',
    "videos": json.dumps(
        [
            {
                "video_id": "001",
                "questions": [{"question_id": "001-1", "response": "<answer>B</answer>", "answer": "D"}],
            },
            {"video_id": "002", "questions": [{"question_id": "002-1", "response": None}]},
        ]
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms(tmp_path: Path, form: str) -> None:
    path = tmp_path / "answers.json"
    path.write_text(FORMS[form])
    assert read_answers(path) == ANSWERS


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[{"id": "1", "text": "A"},]', "neither JSON nor JSON lines"),
        ("3", "neither an object nor a list"),
        ("[3]", "entry 0: not an object"),
        ('[{"id": "1"}]', r"none of \['response'"),
        ('[{"text": "1"}]', r"none of \['question_id'"),
        ('{"1": 3}', "3 is no text"),
        ('[{"id": "1", "text": "A"}, {"id": "1", "text": "B"}]', "entry 1: a second answer to question '1'"),
    ],
)
def test_other_forms_are_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "answers.json"
    path.write_text(text)
    with pytest.raises(DataError, match=said):
        read_answers(path)


def test_they_are_scored_and_missing_ones_are_wrong(tmp_path: Path) -> None:
    benchmark = videomme(tmp_path)
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(ANSWERS))
    records = benchmark.records_of(path, None)
    assert [record.scores["acc"] for record in records] == [1, 0, 0]
    assert [record.error for record in records] == [None, None, "no answer in the file"]
    assert records[0].model == "mine" and records[0].parser_version
    path.write_text(json.dumps({"9": "A"}))
    with pytest.raises(DataError, match="1 answers to questions that videomme lacks: '9'"):
        benchmark.records_of(path, None)
