"""What a model is shown and asked: frames with their true times, the task's system text, the target's units."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from o3v.prompts.build import build_prompt, interleave
from o3v.prompts.system import SYSTEM_TEXTS
from o3v.types import BoxScale, Clip, Sample, Task

SCALE = BoxScale(100, 50)


def clip(times_s, duration_s=10.0):
    return Clip(np.zeros((max(len(times_s), 1), 28, 56, 3), np.uint8), tuple(times_s), duration_s, (56, 28))


def sample(reasoning="", answer="a", task=Task.TEMPORAL_SPATIAL):
    return Sample("x", "STR", task, "What is it?", answer, reasoning, None, None, (), None, None, None)


@given(st.lists(st.floats(0, 999), min_size=1, max_size=9, unique=True).map(sorted))
def test_every_frame_stands_after_its_own_time(times_s):
    parts = interleave(clip(times_s))
    assert [part for part in parts if isinstance(part, int)] == list(range(len(times_s)))
    for position, part in enumerate(parts):
        if isinstance(part, int):
            label = re.fullmatch(r"\n?Frame (\d+) at (\d+\.\d)s: ", parts[position - 1])
            assert int(label[1]) == part + 1
            assert abs(float(label[2]) - times_s[part]) <= 0.0501
    assert parts[-1] == "\nThe video is in total 10.0 seconds.\n"


def test_a_still_image_has_neither_time_nor_length():
    assert interleave(clip(())) == (0, "\n")


def test_a_video_of_one_frame_is_no_still_image():
    assert interleave(clip([0.0], 0.5))[0] == "Frame 1 at 0.0s: "


def test_the_question_stands_last_as_published():
    prompt = build_prompt(sample(), clip([0.0, 1.0]), SCALE)
    assert prompt.parts[-1] == "What is it?" and prompt.parts[:-1] == interleave(clip([0.0, 1.0]))
    assert prompt.box_scale == SCALE


@pytest.mark.parametrize("task", list(Task))
def test_every_task_has_its_system_text(task):
    text = build_prompt(sample(task=task), clip([0.0]), SCALE).system
    assert text == SYSTEM_TEXTS[task]
    assert "<think>" in text and "<answer>" in text


def test_system_texts_differ_by_task_only():
    assert len(set(SYSTEM_TEXTS.values())) == len(Task)
    grounded = [task for task, text in SYSTEM_TEXTS.items() if "<box>[x1,y1,x2,y2]</box>" in text]
    assert set(grounded) == set(Task) - {Task.TEMPORAL_QA, Task.TEMPORAL_MCQ}
    assert all("image" in SYSTEM_TEXTS[task] for task in (Task.VISUAL_QA,))


def test_the_target_is_in_the_models_units():
    row = sample(
        "I see <obj>cat</obj><box>[0.1, 0.2, 0.5, 1]</box>at<t>3.0</t>s", "<box>[0,0,1,1]</box>", Task.VISUAL_QA
    )
    assert build_prompt(row, clip([0.0]), SCALE).target == (
        "<think>I see <obj>cat</obj><box>[10,10,50,50]</box>at<t>3.0</t>s</think>\n"
        "<answer><box>[0,0,100,50]</box></answer>"
    )


def test_rows_without_reasoning_have_nothing_to_learn():
    assert build_prompt(sample(), clip([0.0]), SCALE).target is None
