"""Scores of a judge in records; the judge by rules."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from o3v.benchmarks.judge.judging import judge_records
from o3v.benchmarks.judge.rules import RulesJudge
from o3v.benchmarks.question import ToJudge
from o3v.benchmarks.records import Identity, make_record
from o3v.benchmarks.samples import sample_question
from o3v.errors import ConfigError
from tests.benchmarks import scenes

RULES = RulesJudge([0.2, 0.5, 1.0])


class Worded:
    """A benchmark whose questions all need a judge."""

    judge_column = "judge_score"

    def to_judge(self, question, text):
        return ToJudge(question.text, "a red ball", text, ({"role": "user", "content": text},)) if text else None

    def parse_judge(self, reply):
        return int(reply) if re.fullmatch("[0-3]", reply) else -1


class Says:
    """A judge that says what it was asked."""

    name = "says"

    def replies(self, asked):
        return reversed([(k, request.answer) for k, request in enumerate(asked)])


def judged(texts, judge, scores=()):
    questions = [sample_question(scenes.what(f"q{i}")) for i in range(len(texts))]
    who, given = Identity("m", "r", 0), dict(scores)
    records = [make_record(q, who, None, t, given.get(q.id, {}), None) for q, t in zip(questions, texts, strict=True)]
    return judge_records(Worded(), questions, records, judge)


def test_scores_reach_their_records_and_unreadable_replies_are_counted(caplog):
    done = judged(["3", "", "words", "0"], Says())
    assert [record.scores.get("judge_score") for record in done.records] == [3.0, None, -1.0, 0.0]
    assert (done.judge, done.judged, done.unreadable) == ("says", 3, 1)
    assert "1 of 3 replies" in caplog.text


def test_what_has_a_score_is_not_judged_again():
    done = judged(["3", "2"], Says(), {"q0": {"judge_score": 1.0}})
    assert [record.scores["judge_score"] for record in done.records] == [1.0, 2.0]


@pytest.mark.parametrize(
    ("answer", "grade"),
    [
        ("The red ball!", 3),
        ("<obj>red ball</obj>", 3),
        ("red balls", 3),
        ("ball", 2),
        ("it is the red one", 1),
        ("", 0),
    ],
)
def test_rules(answer, grade):
    assert RULES.grade("a red ball", answer) == grade


def test_rules_know_other_scripts():
    assert RULES.grade("红色的球", "红色的球。") == 3 and RULES.grade("красный мяч", "Красный мяч") == 3


def test_the_rules_judge_a_benchmark():
    done = judged(["a red ball", "cat"], RULES)
    assert [record.scores["judge_score"] for record in done.records] == [3.0, 0.0] and done.unreadable == 0


@given(st.text(max_size=60), st.text(max_size=60))
def test_grades_stay_on_the_scale_and_equal_texts_get_the_highest(truth, answer):
    assert 0 <= RULES.grade(truth, answer) <= 3
    assert RULES.grade(truth, truth) == 3


@pytest.mark.parametrize("levels", [[], [0.5, 0.2], [0.0, 0.5], [0.5, 1.5], [0.5, 0.5]])
def test_wrong_levels_are_told(levels):
    with pytest.raises(ConfigError, match=r"judge\.levels"):
        RulesJudge(levels)
