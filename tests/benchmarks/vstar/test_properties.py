"""What holds for any text and any file: parsers never raise, scores lie in [0, 1], order does not matter."""

import json
import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from o3v.benchmarks.vstar.annotations import read_items
from o3v.benchmarks.vstar.frames import VStarSampling
from o3v.benchmarks.vstar.items import item_scores, what_scores
from o3v.benchmarks.vstar.judge import candidate, parse_score
from o3v.benchmarks.vstar.parsers import read_boxes, read_times
from o3v.benchmarks.vstar.predictions import read_answers
from o3v.benchmarks.vstar.reference_parsers import complete_brackets, reference_boxes, reference_times
from o3v.types import BoxScale
from tests.benchmarks.vstar.world import THOUSANDTHS, benchmark, installed, perfect, rows, write

PIECES = [
    *"[]{}(),:'\"0123456789.- ",
    "<t>",
    "</t>",
    "<answer>",
    "</answer>",
    "<think>",
    "</think>",
    "s",
    "nan",
    "1e999",
]
PIECES += ["```json\n", "\n```", '{"3": [1, 2, 3, 4]', "[[1, 2, 3, 4]", "1:05", "9" * 400, "秒", "٣", "null", "true"]
TEXTS = st.one_of(st.text(), st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.sampled_from(["2", "3.0", "4s", "x"]), inner),
    max_leaves=12,
)
ROW = rows(1)[0]
ITEM = read_items([ROW], "test")[0]
ANSWERS = [f"answer_{kind}" for kind in ("vqa", "temporal", "spatial", "temporal_2", "spatial_2")]
ANSWERS += [f"answer_{kind}" for kind in ("temporal_pre", "spatial_pre", "temporal_pre_2", "spatial_pre_2")]


@given(TEXTS)
@settings(max_examples=200, deadline=None)
def test_parsers_never_raise(text):
    assert len(read_times(text)) in (0, 2) and len(reference_times(text)) in (0, 2)
    json.dumps([read_boxes(text, THOUSANDTHS, (640, 360)), reference_boxes(text)])
    complete_brackets(text)
    assert parse_score(text, "corrected") in range(-1, 4)
    assert isinstance(parse_score(text, "reference"), int)
    assert isinstance(candidate(text, "corrected"), str) and isinstance(candidate(text, "reference"), str)


@given(st.dictionaries(st.sampled_from([*ANSWERS, "input_shape"]), JSON | TEXTS), st.none() | st.integers(-3, 9))
@settings(max_examples=200, deadline=None)
def test_scores_of_any_row_lie_between_0_and_1(answers, rating):
    for definition in ("corrected", "reference"):
        found = read_answers(ROW | answers, ITEM, rating, definition)
        scores = item_scores(found.scores, len(found.given))
        numbers = [*scores.tious, *scores.vious, *scores.aps[0], *scores.aps[1], scores.parsed, scores.coverage]
        assert all(0.0 <= number <= 1.0 for number in numbers)


@given(TEXTS)
@settings(max_examples=50, deadline=None)
def test_scores_of_any_text_lie_between_0_and_1(tmp_path_factory, text):
    bench = benchmark(tmp_path_factory.getbasetemp())
    for question in bench.questions_of(write(tmp_path_factory.getbasetemp() / "p.json", [ROW])):
        assert all(0.0 <= score <= 1.0 for score in bench.score(question, text, BoxScale(50, 50)).values())


def test_the_order_of_items_and_records_changes_nothing(tmp_path):
    annotations = rows(9)
    bench = installed(tmp_path, annotations)
    given_rows = [perfect(row) | {"judge_score": i % 4} if i % 4 else row for i, row in enumerate(annotations)]
    records = bench.records_of(write(tmp_path / "p.json", given_rows), None)
    wanted = bench.summary(records)
    for seed in range(3):
        mixed = random.Random(seed).sample(given_rows, len(given_rows))
        again = bench.records_of(write(tmp_path / "mixed.json", mixed), None)
        assert [(r.sample_id, r.scores) for r in again] == [(r.sample_id, r.scores) for r in records]
        shuffled = bench.summary(random.Random(seed).sample(records, len(records)))
        assert shuffled.keys() == wanted.keys()
        for name, estimate in wanted.items():
            assert np.allclose(estimate.value, shuffled[name].value, equal_nan=True)
            assert np.allclose(estimate.low, shuffled[name].low, equal_nan=True)


def test_a_question_that_was_not_asked_counts_as_wrong(tmp_path):
    bench = benchmark(tmp_path)
    records = bench.records_of(write(tmp_path / "p.json", [perfect(row) for row in rows()]), None)
    without_when = [record for record in records if record.task != "temporal"]
    values = {name: estimate.value for name, estimate in bench.summary(without_when).items()}
    assert values["chain1/tiou"] == 0.0 and values["chain2/tiou"] == 1.0
    assert abs(values["coverage"] - 0.8) < 1e-12


def test_only_an_answer_in_words_is_judged():
    assert what_scores("", None) == {"answered": 0.0}
    found = read_answers(ROW | {"answer_vqa": ""}, ITEM, 3, "corrected")
    assert found.scores["vqa"] == {"answered": 0.0}


def test_the_released_choice_of_frames_serves_a_reader():
    times_s = [i / 10 for i in range(400)]
    chosen = VStarSampling(fps=1.0, max_frames=16).plan_times(times_s, 40.0, [])
    assert [round(10 * time) for time in chosen[:4]] == [0, 26, 53, 79] and len(chosen) == 16
    assert VStarSampling(fps=1.0, max_frames=16).plan_times([0.0, 2.0, 4.0], 6.0, []) == (0.0, 2.0, 4.0)
