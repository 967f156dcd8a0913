"""Trivial baselines: known scores, nothing learned from the scored samples."""

import pytest

from o3v.benchmarks.baselines import (
    BASELINES,
    baseline_completions,
    baseline_records,
    best_constant_span,
    fit_constants,
)
from o3v.errors import ConfigError
from o3v.grounding.spans import tiou
from o3v.types import KeyFrame, Task
from tests.benchmarks import scenes
from tests.benchmarks.test_shapes import benchmark

TRAIN = [
    *(scenes.what(f"w{i}", answer) for i, answer in enumerate(["red circle"] * 3 + ["blue square"])),
    *(scenes.sample(f"l{i}", Task.GENERAL_MCQ, letter=letter) for i, letter in enumerate("ABCCC")),
    *(scenes.when(f"t{i}", (2.0, 4.0)) for i in range(3)),
    scenes.when("t9", (0.0, 8.0)),
    scenes.where("b0", (0.0, 0.0, 0.2, 0.2)),
]
CONSTANTS = fit_constants(TRAIN)


def scores(name, sample):
    (record,) = baseline_records(name, [sample], CONSTANTS, lambda s: 8.0, benchmark().score)
    return record.scores


def test_constants():
    assert CONSTANTS.span_s == (2.0, 4.0)
    assert CONSTANTS.answers[Task.TEMPORAL_SPATIAL] == {"blue square": 0.25, "red circle": 0.75}
    assert CONSTANTS.letters[Task.GENERAL_MCQ] == {"A": 0.2, "B": 0.2, "C": 0.6}
    # 4 samples with boxes (0, 0, .5, .5) twice and (.5, .5, 1, 1) once, and one box of visual QA
    assert CONSTANTS.box == pytest.approx((2 / 13, 2 / 13, 6.2 / 13 + 2 / 13, 6.2 / 13 + 2 / 13))


@pytest.mark.parametrize(
    ("name", "expected"),
    [("whole_video", 0.5), ("centre_third", 2 / 3), ("constant_span", 0.5), ("full_frame", 0.0), ("all_constant", 0.5)],
)
def test_spans(name, expected):
    assert scores(name, scenes.when())["tiou"] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(
    ("name", "expected"), [("full_frame", 0.16), ("centre_box", 0.0625 / 0.3475), ("all_whole", 0.16)]
)
def test_boxes(name, expected):
    assert scores(name, scenes.where())["box_iou"] == pytest.approx(expected, abs=1e-3)


def test_full_frame_is_claimed_at_every_second():
    found = scores("full_frame", scenes.what())
    assert found["claim_iou_strict"] == found["claim_iou"] == 0.25
    assert found["acc"] == 0.0 and found["parsed"] == 1.0


def test_words():
    assert scores("majority_answer", scenes.what())["acc"] == 1.0
    assert scores("random_answer", scenes.what())["acc"] == pytest.approx(0.75)
    assert scores("majority_answer", scenes.letter())["acc"] == 1.0
    assert scores("random_answer", scenes.letter())["acc"] == pytest.approx(0.6)
    assert scores("random_answer", scenes.when_letter())["acc"] == 0.0  # no such task in training


def test_letters_stand_after_the_segment():
    constants = fit_constants([*TRAIN, scenes.when_letter()])
    ((weight, completion),) = baseline_completions("all_constant", scenes.when_letter(), constants, 8.0)
    assert weight == 1.0 and completion.answer_letter == "B" and completion.answer_span_s == constants.span_s


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("constants", [CONSTANTS, fit_constants([])], ids=["fitted", "nothing"])
def test_every_baseline_answers_every_task_with_weights_that_sum_to_one(name, constants):
    for sample in scenes.all_kinds():
        for duration_s in (0.0, 8.0, 1e5):
            weighted = baseline_completions(name, sample, constants, duration_s)
            assert sum(weight for weight, _ in weighted) == pytest.approx(1.0)
            assert all(completion.answer is not None for _, completion in weighted)


@pytest.mark.parametrize("name", BASELINES)
def test_the_scored_annotation_is_not_looked_at(name):
    one, two = scenes.when(span_s=(0.0, 1.0)), scenes.when(span_s=(3.0, 4.0))
    assert baseline_completions(name, one, CONSTANTS, 8.0) == baseline_completions(name, two, CONSTANTS, 8.0)


def test_constant_span_is_the_best_one():
    spans = [(0.0, 3.0), (1.0, 4.0), (1.0, 3.0), (5.0, 8.0)]

    def mean(span):
        return sum(tiou(span, other) for other in spans) / len(spans)

    best = best_constant_span(spans)
    assert mean(best) == max(mean((a, b)) for a in (0.0, 1.0, 5.0) for b in (3.0, 4.0, 8.0) if b > a)
    assert best_constant_span([(2.0, 2.0)]) == (2.0, 2.0)


def test_unknown_names_are_told():
    with pytest.raises(ConfigError, match=r"'luck'.*all_constant"):
        baseline_completions("luck", scenes.when(), CONSTANTS, 8.0)


def test_key_frames_without_boxes_are_no_boxes():
    sample = scenes.sample("x", Task.TEMPORAL_SPATIAL, key_frames=(KeyFrame(1.0, {}, None),))
    assert fit_constants([sample]).box is None
