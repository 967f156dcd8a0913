"""Rows of the generated world: valid STGR rows whose own text earns everything."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from o3v.data.rows import RowError, media_folder, read_row
from o3v.data.shapes_rows import SOURCES, draw_row, rl_row
from o3v.grounding.parse import parse_completion
from o3v.grounding.render import render_claim, render_span, render_target, rewrite_boxes
from o3v.types import BoxScale, Claim, Task
from tests.data.worlds import FULL
from tests.rewards.configured import mix

SCALES = {"pixels": BoxScale(84, 84), "thousand": BoxScale(1000, 1000)}
SEEDS = st.integers(0, 2**30)
TASKS = pytest.mark.parametrize("task", list(Task), ids=lambda task: task.name.lower())


def published(row):
    """What stands in the file: JSON, without the helper fields."""
    return json.loads(json.dumps({k: v for k, v in row.items() if k not in ("span", "letter")}))


def sample_of(row):
    """The row as a data set reads it; its media file is not looked at."""
    media = {"image_path": "a.jpg"} if row["task"] == Task.VISUAL_QA else {"video_path": "a.mp4"}
    return read_row(published(row) | media, "x", Path("/data"))


def reachable(task):
    """The maximum; but ROUGE-2 of one word is 0, so `right` or `left` earns 2/3 of ans_acc at most."""
    return mix("o3").max_total(task) - (1 / 3 if task is Task.GENERAL_FREE_FORM else 0.0)


@TASKS
@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_rows_validate_in_both_forms(task, seed):
    row, scene = draw_row(FULL, task, seed)
    for form in (row, rl_row(row)):
        sample = sample_of(form)
        assert sample.task is task and sample.question == row["question"] and sample.source == SOURCES[task]
        assert bool(sample.reasoning) == (form is row)
    assert (scene.n_frames == 1) == (task is Task.VISUAL_QA)


@TASKS
@pytest.mark.parametrize("scale", SCALES.values(), ids=SCALES)
@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_the_rows_own_text_earns_the_maximum(task, scale, seed):
    """Reasoning and answer of the SFT row, in the model's units, judged by the RL row."""
    row, _ = draw_row(FULL, task, seed)
    sft, rl = sample_of(row), sample_of(rl_row(row))
    text = rewrite_boxes(render_target(sft.reasoning, sft.answer), scale.to_model)
    earned = mix("o3")([parse_completion(text, scale)], rl, 1.0).totals[0]
    assert earned == pytest.approx(reachable(task), abs=0.01)  # boxes are rounded to the units


@TASKS
@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_an_answer_rendered_from_the_annotation_earns_the_maximum(task, seed):
    """With exact units nothing is lost by rounding, so the reward is the maximum to the last digit."""
    row, _ = draw_row(FULL, task, seed)
    sample = sample_of(rl_row(row))
    scale = BoxScale(1e6, 1e6)
    text = render_target(perfect_reasoning(sample, scale), perfect_answer(sample, scale))
    assert mix("o3")([parse_completion(text, scale)], sample, 1.0).totals[0] == pytest.approx(reachable(task), abs=1e-3)


def perfect_reasoning(sample, scale):
    if sample.span_s is not None:
        return " ".join(f"<t>{t:.1f}</t>s" for t in sample.span_s)
    if sample.box is not None:
        return render_claim(Claim("it", (sample.box,), 0.0), scale)
    claims = [Claim(name, boxes, key.time_s) for key in sample.key_frames for name, boxes in key.boxes.items()]
    return " ".join(render_claim(claim, scale) for claim in claims) or "<obj>a</obj><box>[0,0,1,1]</box>at<t>0.0</t>s"


def perfect_answer(sample, scale):
    if sample.span_s is not None:
        return render_span(sample.span_s, sample.letter)
    if sample.box is not None:
        return rewrite_boxes(sample.answer, scale.to_model)
    return sample.answer


@TASKS
def test_a_wrong_row_earns_less(task):
    """The comparison above is no tautology: another row's text is not worth the maximum."""
    rewards = mix("o3")
    lost = 0
    for seed in range(10):
        other, sample = sample_of(draw_row(FULL, task, seed + 100)[0]), sample_of(rl_row(draw_row(FULL, task, seed)[0]))
        done = parse_completion(render_target(other.reasoning, other.answer), BoxScale(1, 1))
        lost += rewards([done], sample, 1.0).totals[0] < rewards.max_total(task) - 0.1
    assert lost >= 5


@TASKS
def test_the_seed_decides(task):
    assert draw_row(FULL, task, 4) == draw_row(FULL, task, 4)
    assert draw_row(FULL, task, 4)[1] != draw_row(FULL, task, 5)[1]


def test_rows_of_neighbouring_seeds_never_share_a_scene():
    scenes = [draw_row(FULL, Task.TEMPORAL_SPATIAL, seed)[1].seed for seed in range(200)]
    assert len(set(scenes)) == 200


@settings(max_examples=50, deadline=None)
@given(seed=SEEDS)
def test_the_first_and_last_object_are_beyond_doubt(seed):
    row, scene = draw_row(FULL, Task.TEMPORAL_SPATIAL, seed)
    starts = sorted((item.first_frame, item.name) for item in scene.objects)
    assert len({start for start, _ in starts}) == len(starts) > 1
    assert row["answer"] == (starts[0][1] if "first" in row["question"] else starts[-1][1])
    assert [key["time"] for key in row["key_frames"]] == [float(start) for start, _ in starts]


@settings(max_examples=50, deadline=None)
@given(seed=SEEDS)
def test_multiple_choice_has_one_right_letter(seed):
    for task in (Task.TEMPORAL_MCQ, Task.GENERAL_MCQ):
        row, scene = draw_row(FULL, task, seed)
        options = dict(line.split(". ") for line in row["question"].splitlines()[1:])
        assert sorted(options) == list("ABCD") and len(set(options.values())) == 4
        right = options[row["letter"]]
        if task is Task.GENERAL_MCQ:
            assert int(right) == len(scene.objects)
        else:
            assert right in {item.direction for item in scene.objects if item.name in row["question"]}


def test_a_world_in_which_nothing_follows_another_says_so():
    with pytest.raises(ValueError, match="max_objects must be at least 2, is 1"):
        draw_row(replace(FULL, max_objects=1), Task.TEMPORAL_SPATIAL, 0)


def test_sources_lead_to_media_folders():
    for task, source in SOURCES.items():
        assert str(media_folder(source, is_image=task is Task.VISUAL_QA)).startswith("videos")


def test_a_broken_row_is_refused():
    row, _ = draw_row(FULL, Task.TEMPORAL_QA, 0)
    with pytest.raises(RowError):
        sample_of(row | {"answer": "some day"})
