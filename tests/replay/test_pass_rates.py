"""Pass rates: which completions count as right, over all lines of a sample; and the command."""

import json

import pytest

from o3v import pass_rates as command
from o3v.data.difficulty import Difficulty, read_numbers
from o3v.errors import ConfigError, DataError
from o3v.replay.files import write_lines
from o3v.replay.format import read_group
from o3v.replay.pass_rates import pass_rates
from o3v.types import Task
from tests import commands
from tests.training.steps import configured

QUESTIONS = {Task.GENERAL_MCQ: "B", Task.TEMPORAL_QA: "[2.0, 4.0]"}


def line(sample, task, answers, number=0):
    return {
        "id": f"{number}/{sample}",
        "sample": sample,
        "task": str(task),
        "answer": QUESTIONS[task],
        "question": "?",
        "completions": [f"<think>x</think><answer>{answer}</answer>" for answer in answers],
    }


LINES = [
    line("letters", Task.GENERAL_MCQ, ["B", "A", "C", "B"]),
    line("letters", Task.GENERAL_MCQ, ["B", "B", "B", "B"], 1),
    line("spans", Task.TEMPORAL_QA, ["From <t>2</t>s to <t>4</t>s", "From <t>3.9</t>s to <t>9</t>s", "", "?"]),
]


def rates_of(lines, terms=("ans_acc", "ans_tiou", "ans_viou"), threshold=0.5):
    groups = [(read_group(fields, "test"), 1.0) for fields in lines]
    return pass_rates(groups, configured("reward", "o3"), terms, threshold)


def test_a_sample_s_rate_is_over_all_its_lines():
    assert rates_of(LINES) == {"letters": 6 / 8, "spans": 1 / 4}


def test_only_terms_that_apply_judge():
    assert rates_of(LINES, terms=("ans_acc",)) == {"letters": 6 / 8}
    assert rates_of(LINES, threshold=0.001)["spans"] == 2 / 4
    with pytest.raises(ConfigError, match="'nothing' is no term of the reward"):
        rates_of(LINES, terms=("nothing",))


def test_the_command_writes_what_the_mix_reads(tmp_path):
    write_lines(tmp_path / "rollouts.jsonl", LINES)
    out = tmp_path / "rates.json"
    mean = commands.run("pass_rates", tmp_path, f"rollouts={tmp_path}/rollouts.jsonl", f"out={out}")
    assert mean == pytest.approx(0.5)
    assert read_numbers(out, 0, 1) == json.loads(out.read_text()) == {"letters": 0.75, "spans": 0.25}
    bands = Difficulty({"hard": 0.25, "easy": 1.0}, str(out))
    assert [bands.band(rate) for rate in read_numbers(out, 0, 1).values()] == ["easy", "hard"]


def test_a_file_without_a_judged_line_is_told(tmp_path):
    write_lines(tmp_path / "rollouts.jsonl", LINES)
    arguments = (f"rollouts={tmp_path}/rollouts.jsonl", f"out={tmp_path}/rates.json", "terms=[ans_viou]")
    with pytest.raises(DataError, match="no line has a task"):
        commands.run("pass_rates", tmp_path, *arguments)
    assert command.main is not None and not (tmp_path / "rates.json").exists()
