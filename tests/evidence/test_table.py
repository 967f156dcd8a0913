"""Rows of a completions table."""

import json

import pytest

from o3v.evidence.table import completion_rows
from o3v.types import RewardTable
from tests.evidence import clips

REWARDS = RewardTable(
    terms=("ans_acc", "format"),
    values=((0.0, 1.0), (0.0, 0.0)),
    applies=(False, True),
    totals=(1.0, 0.0),
    diagnostics={"gate_open": (0.5, 0.0)},
)


def test_rows():
    rows = completion_rows(clips.sample(), [clips.answer("a", "one"), clips.answer("a", "two")], REWARDS, [0.7, -0.7])
    assert rows[0] == {
        "sample": "a",
        "task": "temporal-spatial free-form QA",
        "question": "What?",
        "text": "<think>a</think><answer>one</answer>",
        "ans_acc": None,
        "format": 1.0,
        "total": 1.0,
        "advantage": 0.7,
        "gate_open": 0.5,
    }
    assert rows[1]["text"].endswith("<answer>two</answer>") and rows[1]["format"] == 0.0
    json.dumps(rows)


def test_unequal_counts_are_a_bug():
    with pytest.raises(ValueError, match="zip"):
        completion_rows(clips.sample(), [clips.answer("a")], REWARDS, [0.7, -0.7])
