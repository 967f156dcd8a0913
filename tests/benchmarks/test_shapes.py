"""The generated world's benchmark: choice of samples, columns of each task, summary."""

import math
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from o3v.benchmarks.metrics import arithmetic_mean
from o3v.benchmarks.records import Identity, make_record, with_rewards
from o3v.benchmarks.shapes import ShapesBenchmark, claim_iou, normalise_answer
from o3v.errors import ConfigError
from o3v.grounding.parse import parse_completion
from o3v.types import Claim, KeyFrame, Task
from tests.benchmarks import scenes


@dataclass
class Given:
    """A data set of given rows."""

    rows: list

    def samples(self):
        return self.rows


def benchmark(rows=(), tasks=(Task.VISUAL_QA, Task.TEMPORAL_QA, Task.TEMPORAL_SPATIAL), n=4):
    return ShapesBenchmark(Given(list(rows)), [str(t) for t in tasks], n, 0, 1.0, 200)


def scored(sample, text):
    return benchmark().score(sample, parse_completion(text, scenes.SCALE))


EXPECTED_COLUMNS = {
    "where": {"parsed", "box_iou"},
    "when": {"parsed", "tiou"},
    "when_letter": {"parsed", "tiou", "acc"},
    "what": {"parsed", "acc", "claim_iou", "claim_iou_strict"},
    "letter": {"parsed", "acc"},
}


@pytest.mark.parametrize("sample", scenes.all_kinds(), ids=lambda s: s.id)
def test_a_right_answer_scores_one_in_every_column_of_its_task(sample):
    scores = scored(sample, scenes.right_text(sample))
    assert scores == dict.fromkeys(EXPECTED_COLUMNS[sample.id], 1.0)


@pytest.mark.parametrize("text", ["", "no tags", "<think>", "<answer></answer>", "<think>a</think><answer>?</answer>"])
@pytest.mark.parametrize("sample", scenes.all_kinds(), ids=lambda s: s.id)
def test_what_cannot_be_read_is_wrong_and_keeps_its_columns(sample, text):
    scores = scored(sample, text)
    assert scores.keys() == EXPECTED_COLUMNS[sample.id]
    assert all(value == 0 for key, value in scores.items() if key != "parsed")


@given(st.text(max_size=200))
def test_any_text_scores_between_zero_and_one(text):
    for sample in scenes.all_kinds():
        assert all(0 <= value <= 1 for value in scored(sample, f"<think>{text}</think><answer>{text}").values())


def test_strict_claims_need_the_time():
    text = "<think><obj>red circle</obj><box>[0,0,50,50]</box>at<t>3.0</t>s</think><answer>red circle</answer>"
    scores = scored(scenes.what(), text)
    assert scores["claim_iou"] == 0.5 and scores["claim_iou_strict"] == 0.0
    near = scored(scenes.what(), text.replace("3.0", "2.5"))
    assert near["claim_iou_strict"] == 0.5


def test_the_name_binds_a_claim():
    frame = KeyFrame(2.0, {"cat": ((0.0, 0.0, 0.5, 0.5),)}, None)
    dog = Claim("dog", ((0.0, 0.0, 0.5, 0.5),), 2.0)
    cat = Claim("Cat", ((0.5, 0.5, 1.0, 1.0),), 2.0)
    assert claim_iou([frame], [dog], 1.0) == 1.0  # no claim has the name: the nearest counts
    assert claim_iou([frame], [dog, cat], 1.0) == 0.0
    assert claim_iou([frame], [cat, replace(cat, boxes=((0.0, 0.0, 0.5, 0.5),), time_s=2.1)], 1.0) == 0.0
    assert claim_iou([], [cat], math.inf) == 0.0
    assert claim_iou([KeyFrame(1.0, {"cat": ()}, None)], [cat], math.inf) == 0.0


def test_several_boxes_of_a_claim_count_as_the_best():
    frame = KeyFrame(2.0, {"cat": ((0.0, 0.0, 0.5, 0.5),)}, None)
    assert claim_iou([frame], [Claim("cat", ((0.9, 0.9, 1, 1), (0.0, 0.0, 0.5, 0.5)), 2.0)], 0.0) == 1.0


def test_answers_are_compared_as_words():
    assert normalise_answer("<obj>The Red-circle</obj>!") == "red circle"
    assert scored(scenes.what(), "<think></think><answer>red circles</answer>")["acc"] == 0.0


def test_samples_are_chosen_by_seed_whatever_the_order():
    rows = [scenes.when(f"t{i:02d}") for i in range(30)] + [scenes.letter(f"l{i}") for i in range(2)]
    tasks = (Task.TEMPORAL_QA, Task.GENERAL_MCQ)
    one = benchmark(rows, tasks).samples()
    assert one == benchmark(rows[::-1], tasks).samples()
    assert [s.task for s in one].count(Task.TEMPORAL_QA) == 4
    assert [s.task for s in one].count(Task.GENERAL_MCQ) == 2
    assert [s.id for s in one] == sorted(s.id for s in one)
    assert one != replace(benchmark(rows, tasks), seed=1).samples()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tasks": ["visual"]}, "benchmark.tasks"),
        ({"tasks": []}, "benchmark.tasks"),
        ({"n_per_task": 0}, "benchmark.n_per_task=0"),
        ({"resamples": 0}, "benchmark.resamples=0"),
        ({"frame_interval_s": 0.0}, "benchmark.frame_interval_s"),
    ],
)
def test_wrong_settings_are_named(change, message):
    with pytest.raises(ConfigError, match=message):
        replace(benchmark(), **change)


def test_a_task_that_the_data_lacks_is_named():
    with pytest.raises(ConfigError, match="no 'visual QA'"):
        benchmark([scenes.when()]).samples()


def records_of(texts):
    """Records of (sample, text) pairs."""
    score = with_rewards(benchmark().score, scenes.length_reward, 0.5)
    who = Identity("m", "r", 0)
    rows = []
    for sample, text in texts:
        rows.append(make_record(sample, who, None, text, score(sample, parse_completion(text, scenes.SCALE)), None))
    return rows


def test_summary_has_the_chains_and_counts():
    samples = [scenes.where("a"), scenes.where("b"), scenes.when("c"), scenes.what("d"), scenes.what("e")]
    texts = [scenes.right_text(samples[0]), "", scenes.right_text(samples[2]), scenes.right_text(samples[3]), "rubbish"]
    summary = benchmark().summary(records_of(zip(samples, texts, strict=True)))
    value = {name: estimate.value for name, estimate in summary.items()}
    assert value["acc"] == 0.5 and value["tiou"] == 1.0 and value["box_iou"] == 0.5 and value["claim_iou_strict"] == 0.5
    assert value["chain1/AM"] == pytest.approx(arithmetic_mean(0.5, 1.0, 0.5)) == value["mAM"]
    assert value["mLGM"] == pytest.approx((2 * -math.log(0.5) - math.log(1e-6)) / 3)
    assert value["R1@tIoU=0.5"] == 1.0 and value["coverage"] == 1.0 and value["parsed"] == 0.6
    assert value["reward/total"] == 0.8 and value["reward/total@visual QA"] == 0.5
    assert summary["acc"].n == 2 and summary["mAM"].n == 5
    assert summary["mAM"].low < value["mAM"] < summary["mAM"].high


def test_summary_without_a_chain_has_no_mam():
    summary = benchmark().summary(records_of([(scenes.when(), "")]))
    assert "mAM" not in summary and summary["tiou"].value == 0.0


def test_terms_that_do_not_apply_are_no_columns():
    one, two = records_of([(scenes.when(), "x"), (scenes.letter(), "x")])
    assert "reward/late" not in one.scores and one.scores["reward/total"] == 1.0
    assert two.scores["reward/late"] == 0.5 and two.scores["reward/total"] == 1.5
