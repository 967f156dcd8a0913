"""Texts of the trivial answers, read back by the parser that reads a model's."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from o3v.benchmarks import trivial
from o3v.grounding.parse import parse_completion

LETTERS = ["A", "B", "C", "D"]
ids = st.text(min_size=1, max_size=6)


@given(st.dictionaries(ids, st.sampled_from(LETTERS), min_size=1, max_size=20), st.integers(0, 5))
def test_majority_letter_is_the_best_constant(truths: dict[str, str], seed: int) -> None:
    texts = trivial.letter_baselines({key: LETTERS for key in truths}, truths, seed)["majority_letter"]
    right = sum(parse_completion(texts[key], trivial.SCALE).answer_letter == truths[key] for key in truths)
    assert right == Counter(truths.values()).most_common(1)[0][1]


def test_majority_letter_is_one_that_the_question_offers() -> None:
    options = {"a": "ABCD", "b": "ABCD", "c": "AB", "open": ""}
    found = trivial.letter_baselines(options, {"a": "D", "b": "D", "c": "B"}, seed=0)["majority_letter"]
    assert {key: text[-len("X</answer>")] for key, text in found.items()} == {"a": "D", "b": "D", "c": "A"}


def test_random_letter_does_not_depend_on_the_other_questions() -> None:
    options = {f"q{k}": "ABCD" for k in range(400)}
    everything = trivial.letter_baselines(options, {}, seed=3)["random_letter"]
    alone = trivial.letter_baselines({"q7": "ABCD"}, {}, seed=3)["random_letter"]
    assert alone["q7"] == everything["q7"]
    counts = Counter(everything.values())
    assert len(counts) == 4 and min(counts.values()) > 70
    assert everything != trivial.letter_baselines(options, {}, seed=4)["random_letter"]
    assert trivial.random_letter_accuracy(options) == 0.25


@given(st.floats(0.5, 5000))
def test_spans_read_back(duration_s: float) -> None:
    spans = trivial.span_baselines({"q": duration_s})
    read = {name: parse_completion(texts["q"], trivial.SCALE).answer_span_s for name, texts in spans.items()}
    assert read["whole_video"] == pytest.approx((0.0, duration_s), abs=1e-3)
    assert read["centre_third"] == pytest.approx((duration_s / 3, 2 * duration_s / 3), abs=1e-3)


def test_boxes_read_back_in_both_grammars() -> None:
    times = {"q": trivial.whole_seconds((0.5, 3.0))}
    for name, box in trivial.BOXES.items():
        text = trivial.box_baselines(times, trivial.claims_text)[name]["q"]
        claims = parse_completion(text, trivial.SCALE).claims
        assert [claim.time_s for claim in claims] == [1.0, 2.0, 3.0]
        assert {claim.boxes for claim in claims} == {(box,)}
        found = json.loads(trivial.box_baselines(times, trivial.boxes_json)[name]["q"])
        assert found == {key: [round(1000 * v) for v in box] for key in ("1", "2", "3")}


def test_boxes_of_an_endless_video_are_bounded() -> None:
    texts = trivial.box_baselines({"q": [float(k) for k in range(100_000)]}, trivial.boxes_json)
    assert len(json.loads(texts["full_frame"]["q"])) == trivial.MAX_MOMENTS


@given(st.floats(0, 1e4), st.floats(0, 100))
def test_whole_seconds_lie_inside(start: float, length: float) -> None:
    found = trivial.whole_seconds((start, start + length))
    assert found and all(start <= time <= start + length for time in found)
