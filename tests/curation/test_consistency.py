"""Reasoning against its annotations: what is cited and not annotated, in every way, and the tolerances."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from o3v.curation.consistency import Consistency
from o3v.types import KeyFrame
from tests.curation.parts import BALL, CLAIM, candidate

RULE = Consistency(max_time_error_s=0.1, min_iou=0.9, min_claims=1)


def reason(text: str, rule: Consistency = RULE) -> str:
    return rule.outcome(candidate(reasoning=text)).decisions[-1].reason


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"ok {CLAIM}.", ""),
        (CLAIM.replace("2.0", "2.1"), ""),
        (CLAIM.replace("2.0", "2.11"), "time not annotated"),
        (CLAIM.replace("2.0", "5.0"), "object not annotated"),
        (CLAIM.replace("red ball", "Red  BALL"), ""),
        (CLAIM.replace("red ball", "ball"), "object not annotated"),
        (CLAIM.replace("0.4,0.4", "0.39,0.4"), ""),
        (CLAIM.replace("0.4,0.4", "0.36,0.4"), "box not annotated"),
        (CLAIM.replace("</box>at", "</box><box>[0,0,1,1]</box>at"), "box not annotated"),
        (f"{CLAIM} then <t>7.0</t>s", "time not annotated"),
        (f"{CLAIM} then <t>5.0</t>s", ""),
        (f"{CLAIM} then <t>soon</t>s", "unreadable time"),
        (f"{CLAIM} and <box>[0,0,1,1]</box>", "tags outside a claim"),
        (f"{CLAIM} and <obj>dog</obj>", "malformed claim"),
        (f"{CLAIM} and </t>", "tags outside a claim"),
        (CLAIM.replace("0.1,", "", 1), "malformed claim"),
        ("It is clear.", "too few claims"),
        ("", "too few claims"),
    ],
)
def test_reasons(text, expected):
    assert reason(text) == expected


def test_the_fewest_claims_are_configuration():
    assert reason("It is clear.", Consistency(0.1, 0.9, 0)) == ""


@given(st.text(max_size=60) | st.lists(st.sampled_from([CLAIM, "<obj>", "</obj>", "<t>", "</t>s", "x"])).map("".join))
def test_any_text(text):
    outcome = RULE.outcome(candidate(reasoning=text))
    assert (outcome.candidate is None) == bool(outcome.decisions[-1].reason)


def test_a_dropped_box_takes_its_claim_along():
    left = candidate(key_frames=(KeyFrame(5.0, {"dog": (BALL,)}, None),))
    assert RULE.outcome(left).candidate is None


MUTANTS = {
    "names never compared": ("o3v.curation.consistency.same_name", lambda a, b: True),
    "boxes never compared": ("o3v.curation.consistency.box_iou", lambda a, b: 1.0),
    "times never compared": (
        "o3v.curation.consistency.Consistency._near",
        lambda self, candidate, time_s: candidate.key_frames,
    ),
    "fragments passed over": ("o3v.curation.consistency.find_fragments", lambda text: ()),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_wrong_versions_are_caught(name, monkeypatch):
    monkeypatch.setattr(*MUTANTS[name])
    found = [
        reason(CLAIM.replace("2.0", "2.11")),
        reason(CLAIM.replace("red ball", "ball")),
        reason(CLAIM.replace("0.4,0.4", "0.36,0.4")),
        reason(f"{CLAIM} and <obj>dog</obj>"),
    ]
    expected = ["time not annotated", "object not annotated", "box not annotated", "malformed claim"]
    assert found != expected
