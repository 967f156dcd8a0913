"""Format term by hand."""

import pytest

from o3v.grounding.parse import parse_completion
from o3v.rewards.format import Format
from o3v.types import BoxScale, Task
from tests.rewards.samples import sample

CLAIM = "<obj>red car</obj><box>[1,2,3,4]</box>at<t>1</t>s"


@pytest.mark.parametrize(
    ("text", "task", "expected"),
    [
        (f"<think>{CLAIM}</think><answer>x</answer>", Task.TEMPORAL_SPATIAL, 1.0),
        ("<think>no evidence</think><answer>x</answer>", Task.TEMPORAL_SPATIAL, 0.5),
        ("<think>no evidence</think><answer>x</answer>", Task.GENERAL_MCQ, 1.0),
        ("<think><t>1</t>s</think><answer>x</answer>", Task.TEMPORAL_QA, 0.5),
        ("<think><t>1</t>s <t>2</t>s</think><answer>x</answer>", Task.TEMPORAL_MCQ, 1.0),
        ("<think>a</think><answer><obj>red car</obj><box>[1,2,3,4]</box></answer>", Task.VISUAL_QA, 1.0),
        ("<think>a</think><answer><obj>red car</obj><box>[1,2\n,3,4]</box></answer>", Task.VISUAL_QA, 0.5),
        ("<think>a</think><answer><box>[1,2,3,4]</box></answer>", Task.VISUAL_QA, 0.5),
        ("<think><obj>a</think><answer>x</answer>", Task.GENERAL_MCQ, 0.0),
        ("<think>a</think><answer>x</answer></answer>", Task.GENERAL_MCQ, 0.0),
        ("<think>a</think>", Task.GENERAL_MCQ, 0.0),
        ("<answer>x</answer>", Task.GENERAL_MCQ, 0.0),
        ("", Task.GENERAL_MCQ, 0.0),
    ],
)
def test_scores(text, task, expected):
    assert Format()(parse_completion(text, BoxScale(10, 10)), sample(task=task), 0.0) == expected
