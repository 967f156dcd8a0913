"""Parser: the grammar, what is refused, and that no text makes it raise or linger."""

import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from o3v.grounding.parse import parse_completion, read_claims, read_letter, read_times
from o3v.types import BoxScale, Claim

SCALE = BoxScale(100, 50)
PIECES = [
    "<think>", "</think>", "<answer>", "</answer>", "<obj>", "</obj>", "<box>", "</box>", "<t>", "</t>", "s", "at",
    " to ", "[1,2,3,4]", "[", "]", "[[1,2,3,4]]", "[1,2,3]", "[nan,1,2,3]", "1.5", "-3", "9" * 400, "1e400", "٣", "A",
    "(B)", "Correct Option:", "cat", "\n", "é", "\x00",
]  # fmt: skip
texts = st.one_of(st.text(), st.lists(st.sampled_from(PIECES)).map("".join))


def claims_of(text):
    return read_claims(text, SCALE)


def test_whole_completion():
    claim = "<obj> red ball </obj><box>[10,5,50,25]</box><box>[0, 0, 100, 50]</box>at<t>3.0</t>s"
    think = f"<think>a {claim}, then <t>7</t>s</think>"
    done = parse_completion(f"{think}\n<answer>\nFrom <t>1.5</t>s to <t>4</t>s\nCorrect Option: (C)\n</answer>", SCALE)
    boxes = ((0.1, 0.1, 0.5, 0.5), (0.0, 0.0, 1.0, 1.0))
    assert done.claims == (Claim("red ball", boxes, 3.0),)
    assert done.think_times_s == (3.0, 7.0)
    assert done.think_boxes == boxes
    assert done.answer == "From <t>1.5</t>s to <t>4</t>s\nCorrect Option: (C)"
    assert (done.answer_span_s, done.answer_letter, done.answer_box) == ((1.5, 4.0), "C", None)
    assert done.box_scale == SCALE


@pytest.mark.parametrize("text", ["", None, "plain words", "<think>", "</think><think>", "<answer>A"])
def test_texts_without_blocks(text):
    done = parse_completion(text, SCALE)
    assert done.text == (text or "")
    assert (done.think, done.answer, done.claims, done.answer_letter) == (None, None, (), None)


@pytest.mark.parametrize(
    ("text", "think", "answer"),
    [
        ("<think>a<answer>A</answer>b</think><answer>B</answer>", "a<answer>A</answer>b", "B"),
        ("<think>a<answer>A</answer></think>", "a<answer>A</answer>", "A"),  # nothing after the thinking
        ("<answer>A</answer><think>b</think>", "b", "A"),
        ("<think>a</think><answer>A</answer><answer>B</answer>", "a", "A"),
        ("<think>a<think>b</think></think><answer>A</answer>", "a<think>b", "A"),
    ],
)
def test_which_block_counts(text, think, answer):
    done = parse_completion(text, SCALE)
    assert (done.think, done.answer) == (think, answer)


@pytest.mark.parametrize(
    "text",
    [
        "<obj>a</obj><box>[1,2,3,4]</box> at <t>3</t>s",
        "<obj>a</obj><box>[1,2,3,4]</box>at<t>3</t>",
        "<obj>a</obj>at<t>3</t>s",
        "<obj>a<box>[1,2,3,4]</box>at<t>3</t>s",
        "<obj>a</obj></obj><box>[1,2,3,4]</box>at<t>3</t>s",
        "<obj>a</obj><box>[1,2,3,4]at<t>3</t>s and <obj>b</obj>[1,2,3,4]</box>at<t>3</t>s",
        "<obj>a</obj><box>[1,2,3]</box>at<t>3</t>s",
        "<obj>a</obj><box>[1,2,3,4]</box><box>[x]</box>at<t>3</t>s",
        "<obj>a</obj><box>[1,2,3,4]</box>at<t>nan</t>s",
        "<obj>a</obj><box>[1,2,3,4]</box>at<t>-1</t>s",
        "<obj>a</obj><box>[1,2,1e400,4]</box>at<t>1</t>s",
        f"<obj>a</obj><box>[1,2,3,4]</box>at<t>{'9' * 400}</t>s",
    ],
)
def test_malformed_claims_are_no_claims(text):
    assert claims_of(text) == ()


def test_a_broken_claim_does_not_swallow_the_next():
    good = "<obj>b</obj><box>[0,0,50,25]</box>at<t>3</t>s"
    for broken in ("<obj>a</obj><box>[1,2,3,4]</box> and ", "<obj>a ", "<obj>a</obj><box>[1,2,3,4", "<t>4 then "):
        assert claims_of(broken + good) == (Claim("b", ((0.0, 0.0, 0.5, 0.5),), 3.0),)


def test_only_unreadable_times_are_dropped():
    assert read_times("<t>1.2.3</t>s <t>4.</t>s <t>.5</t> <t>٣</t> <t>1e1</t> <t>3s</t> <t>inf</t> <t>5</t>") == (
        4.0,
        5.0,
    )
    assert read_times("<t>4 seconds, then <t>6.0</t>s") == (6.0,)


@pytest.mark.parametrize("form", ["A", "A.", "(A)", "[A]", "  A\n"])
def test_letter_forms(form):
    assert read_letter(form) == "A"
    assert read_letter(f"From <t>1</t>s to <t>2</t>s\nCorrect Option: {form}") == "A"


@pytest.mark.parametrize("form", ["a", "A)", "A. one", "Option A", "AB", "", "()", "A cat", "Correct Option: A or B"])
def test_what_is_no_letter(form):
    assert read_letter(form) is None


@settings(deadline=None)
@given(texts)
def test_total_on_any_text(text):
    done = parse_completion(text, SCALE)
    assert done.text == text
    numbers = [v for box in done.think_boxes for v in box] + list(done.think_times_s)
    numbers += [v for claim in done.claims for box in claim.boxes for v in box]
    assert all(math.isfinite(v) for v in numbers)
    assert all(claim.boxes for claim in done.claims)
    assert len(done.claims) <= len(done.think_times_s)


@pytest.mark.parametrize(
    "piece",
    ["<think>", "</think><think>", "<obj>", "<obj></obj>", "<box>[1,2,3,4]</box>", "<t>1", "<t>1</t>s to ", "[",
     "<box>[", "</think>", "<answer>", "9", " "],
)  # fmt: skip
def test_long_texts_take_linear_time(piece):
    text = f"<think><obj>a</obj><box>[1, <t>1{piece * (200_000 // len(piece))}</think><answer>{piece * 9}"
    begin = time.perf_counter()
    parse_completion(text, SCALE)
    assert time.perf_counter() - begin < 2.0
