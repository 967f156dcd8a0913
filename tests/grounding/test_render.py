"""Renderer: parse(render(x)) == x, and box rewriting at the two borders."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from o3v.grounding.parse import parse_completion, read_claims
from o3v.grounding.render import render_box, render_claim, render_span, render_target, rewrite_boxes
from o3v.types import BoxScale, Claim

SCALE = BoxScale(1000, 1000)
corner = st.integers(0, 1000).map(lambda v: v / 1000)
box = st.tuples(corner, corner, corner, corner)
time_s = st.integers(0, 3_600_000).map(lambda ms: ms / 1000)
words = st.text(st.characters(exclude_characters="<>", exclude_categories=["C"]), max_size=20).map(str.strip)
claim = st.builds(Claim, name=words, boxes=st.lists(box, min_size=1, max_size=3).map(tuple), time_s=time_s)


@settings(deadline=None)
@given(claim)
def test_claim_round_trip(written):
    assert read_claims(render_claim(written, SCALE), SCALE) == (written,)


@settings(deadline=None)
@given(st.lists(st.tuples(words, claim), max_size=4), words)
def test_target_round_trip(parts, answer):
    think = "".join(f"{prose}{render_claim(one, SCALE)} " for prose, one in parts)
    done = parse_completion(render_target(think, answer), SCALE)
    assert (done.think, done.answer) == (think, answer)
    assert done.claims == tuple(one for _, one in parts)
    assert done.think_times_s == tuple(one.time_s for _, one in parts)


@settings(deadline=None)
@given(time_s, time_s, st.sampled_from([None, "A", "D"]))
def test_span_round_trip(start, end, letter):
    done = parse_completion(render_target("", render_span((start, end), letter)), SCALE)
    assert (done.answer_span_s, done.answer_letter) == ((start, end), letter)


@settings(deadline=None)
@given(box)
def test_pixels_to_normalised_and_back(unit):
    text = f"a {render_box(SCALE.to_model(unit))} b"
    normalised = rewrite_boxes(text, SCALE.to_unit)
    assert rewrite_boxes(normalised, SCALE.to_model) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<box>[0.5, 0.25,1.0,1e-05]</box>", "<box>[50,12,100,0]</box>"),
        ("x<box>[0,0,1,1]</box><box>[0,0,0.5,1]</box>y", "x<box>[0,0,100,50]</box><box>[0,0,50,50]</box>y"),
        ("<box>[1,2,3]</box>", "<box>[1,2,3]</box>"),
        ("<box>[a,b,c,d]</box>", "<box>[a,b,c,d]</box>"),
        (f"<box>[{'9' * 400},0,0,0]</box>", f"<box>[{'9' * 400},0,0,0]</box>"),
        ("[0,0,1,1] and none", "[0,0,1,1] and none"),
    ],
)
def test_rewrite(text, expected):
    assert rewrite_boxes(text, BoxScale(100, 50).to_model) == expected


def test_decimals():
    assert render_box((-0.00001, 1 / 3, 0.5, 2.0)) == "<box>[0,0.3333,0.5,2]</box>"
