"""Explanations: the numbers are the reward's own, every claim is found, the picture shows them."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from o3v.errors import DataError, MediaError
from o3v.evidence.draw import MIN_WIDTH_PX
from o3v.evidence.explain import explanation_clip, explanation_picture
from o3v.grounding.parse import parse_completion
from o3v.replay.explain import choose, explain
from o3v.replay.format import read_rollouts
from o3v.replay.tables import coloured
from o3v.rewards.reasons import reasons, verdicts
from o3v.types import BoxScale, Task
from tests.evidence import clips
from tests.replay.rollouts import group_of
from tests.rewards import configured
from tests.rewards.golden_lines import SMALL
from tests.video.clips import write_clip

VARIANTS = ("o3", "no_gate", "reference", "reference_fixed")


@pytest.mark.parametrize("variant", VARIANTS)
def test_values_are_those_of_the_terms_and_every_one_has_a_reason(variant):
    mix, checked = configured.mix(variant), 0
    for group in read_rollouts(SMALL):
        for index, (sample, completion) in enumerate(zip(group.samples, group.completions, strict=True)):
            explanation = explain(mix, group, index, group.progress)
            table = mix([completion], sample, group.progress)
            paid = [0.0 if math.isnan(one.value) else one.value for one in explanation.payments]
            assert paid == list(table.values[0])
            assert explanation.total == pytest.approx(table.totals[0])
            assert all(one.reasons for one in explanation.payments if one.applies)
            checked += 1
    assert checked > 300


def test_the_spatial_value_is_the_sum_of_its_verdicts():
    mix = configured.mix("o3")
    term = mix.terms["thk_spatial"]
    for group in read_rollouts(SMALL):
        for sample, completion in zip(group.samples, group.completions, strict=True):
            judged = verdicts(term, completion, sample)
            if judged and sample.key_frames and completion.answer is not None:
                total = sum(verdict.overlap for verdict in judged) / term.divisor(completion)
                assert total == pytest.approx(term(completion, sample, 0.5), nan_ok=True)


def test_words_claims_and_fragments_are_found():
    claim = "<obj>ball</obj><box>[100,200,500,600]</box>at<t>3.0</t>s"
    text = f"<think>a {claim} <obj>b</obj><box>[1]</box>at<t>3</t>s <obj>c</obj> at</think><answer>x</answer>"
    group = group_of(Task.TEMPORAL_SPATIAL)
    completion = parse_completion(text, BoxScale(1000, 1000))
    group = replace(group, texts=(text,), completions=(completion,), samples=group.samples[:1], rows=group.rows[:1])
    explanation = explain(configured.mix("o3"), group, 0, 0.3)
    words = [text[explanation.think_start + one.start : explanation.think_start + one.end] for one in explanation.found]
    assert words[0] == claim and words[2] == "<obj>c</obj>"
    assert [one.fault for one in explanation.found] == [
        "",
        "a box is not four readable numbers",
        "no closed box tag follows the name",
    ]
    (verdict,) = explanation.verdicts
    assert (verdict.frame.time_s, verdict.overlap) == (3.0, 1.0)
    assert coloured(explanation).plain == text
    assert {str(span.style) for span in coloured(explanation).spans} == {"bold green", "bold red"}


def test_reasons_name_gate_distance_and_overlap():
    group = group_of(Task.TEMPORAL_SPATIAL)
    mix = configured.mix("reference_fixed")
    late = reasons(mix.terms["thk_spatial"], group.completions[1], group.samples[1], 0.3)
    assert "1.5 s from the key frame at 3 s, gate of 1 s closed" in late[1]
    near = reasons(mix.terms["thk_spatial"], group.completions[0], group.samples[0], 0.3)
    assert "gate open, overlap 1.000" in near[1]
    point = reasons(mix.terms["thk_temporal_point"], group.completions[1], group.samples[1], 0.9)
    assert "width 1 s" in point[0] and f"{math.exp(-(1.5**2) / 2):.3f}" in point[1]
    assert reasons(object(), group.completions[0], group.samples[0], 0.3) == ()


def test_a_line_or_one_completion_is_chosen():
    groups = [(group_of(Task.VISUAL_QA, line_id="7/0/a"), 0.5), (group_of(Task.VISUAL_QA, line_id="b"), 0.25)]
    assert choose(iter(groups), "b") == (groups[1][0], (0, 1, 2, 3), 0.25)
    assert choose(iter(groups), "7/0/a/2")[1] == (2,)
    with pytest.raises(DataError, match="no such id among 2; for example 7/0/a, b"):
        choose(iter(groups), "7/0/a/9")


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("media") / "v.mp4", [float(k) for k in range(6)])


@pytest.mark.parametrize("variant", ["o3", "reference_fixed"])
def test_pictures_show_claims_on_their_key_frames(video, variant):
    group = group_of(Task.TEMPORAL_SPATIAL, video_path=Path(video.name))
    for index in range(4):
        explanation = explain(configured.mix(variant), group, index, 0.3)
        clip = explanation_clip(explanation, video.parent)
        assert set(clip.times_s) >= {3.0}
        picture = explanation_picture(clip, explanation)
        assert picture.width >= MIN_WIDTH_PX and picture.height > 300


@pytest.mark.parametrize("text", clips.NASTY)
@pytest.mark.parametrize("task", [Task.TEMPORAL_SPATIAL, Task.TEMPORAL_QA, Task.VISUAL_QA])
def test_any_text_can_be_explained_and_drawn(text, task, video):
    group = group_of(task, video_path=video)
    completion = parse_completion(text, BoxScale(100, 100))
    group = replace(group, texts=(text,), completions=(completion,))
    explanation = explain(configured.mix("o3"), group, 0, 0.3)
    assert explanation_picture(explanation_clip(explanation, None), explanation).height > 100
    coloured(explanation)


def test_a_still_image_is_drawn(tmp_path):
    Image.new("RGB", (64, 48)).save(tmp_path / "i.png")
    group = group_of(Task.VISUAL_QA, image_path=Path("i.png"))
    explanation = explain(configured.mix("o3"), group, 0, 0.3)
    assert explanation_picture(explanation_clip(explanation, tmp_path), explanation).height > 100


def test_media_that_is_gone_is_a_media_error(tmp_path):
    group = group_of(Task.TEMPORAL_SPATIAL, video_path=tmp_path / "gone.mp4")
    explanation = explain(configured.mix("o3"), group, 0, 0.3)
    with pytest.raises(MediaError):
        explanation_clip(explanation, None)
