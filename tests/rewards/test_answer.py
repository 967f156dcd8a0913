"""Answer terms by hand."""

import math

import pytest

from o3v.grounding.parse import parse_completion
from o3v.rewards.answer import AnsAcc, AnsTiou, AnsViou, mean_rouge
from o3v.types import BoxScale, Task
from tests.rewards.samples import sample

SCALE = BoxScale(100, 100)


def value(term, text, **fields):
    return term(parse_completion(f"<think>x</think><answer>{text}</answer>", SCALE), sample(**fields), 0.0)


@pytest.mark.parametrize(("answer", "expected"), [("B", 1.0), ("(B)", 1.0), ("b", 0.0), ("A", 0.0), ("B. one", 0.0)])
def test_letters(answer, expected):
    assert value(AnsAcc(), answer, task=Task.GENERAL_MCQ, letter="B") == expected
    assert value(AnsAcc(), f"Correct Option: {answer}", task=Task.TEMPORAL_MCQ, letter="B") == expected


def test_free_form_answers_are_compared_by_words():
    assert value(AnsAcc(), "a red ball", task=Task.GENERAL_FREE_FORM, answer="a red balls") == 1.0
    assert value(AnsAcc(), "green", task=Task.TEMPORAL_SPATIAL, answer="red") == 0.0
    assert mean_rouge("", "") == 0.0


def test_segment_and_box():
    span = value(AnsTiou(), "From <t>0</t>s to <t>4</t>s", task=Task.TEMPORAL_QA, span_s=(2.0, 6.0))
    assert span == pytest.approx(2 / 6)
    box = value(AnsViou(), "<obj>x</obj><box>[0,0,50,100]</box>", task=Task.VISUAL_QA, box=(0.0, 0.0, 1.0, 1.0))
    assert box == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("term", "task"), [(AnsAcc(), Task.GENERAL_MCQ), (AnsTiou(), Task.TEMPORAL_QA), (AnsViou(), Task.VISUAL_QA)]
)
def test_no_answer_is_no_credit_and_a_missing_annotation_is_undefined(term, task):
    full = {"letter": "A", "span_s": (0.0, 1.0), "box": (0.0, 0.0, 1.0, 1.0)}
    assert value(term, "nothing", task=task, **full) == 0.0
    assert math.isnan(value(term, "nothing", task=task))
