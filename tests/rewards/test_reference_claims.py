"""The overspanning claim reader: the same claims as the released pattern, without its exponential time."""

import json
import re
import time

from hypothesis import given, settings
from hypothesis import strategies as st

from o3v.grounding.parse import parse_completion
from o3v.rewards.reference_claims import read_overspanning_claims
from o3v.rewards.reference_fixed import reread
from o3v.types import BoxScale, Task

PATTERN = re.compile(r"<obj>.*?</obj>((?:<box>\[.*?\]</box>)+)at<t>(.*?)</t>s", re.DOTALL)
PIECES = [
    "<obj>a</obj>",
    "<obj>",
    "</obj>",
    "<box>[1,2,3,4]</box>",
    "<box>[",
    "]</box>",
    "at<t>3</t>s",
    "at<t>",
    "</t>s",
    "[5]",
    "\n",
    " ",
]


def by_pattern(text):
    claims = []
    for boxes, cited in PATTERN.findall(text):
        try:
            claims.append((tuple(json.loads(one) for one in re.findall(r"\[.*?\]", boxes)), float(cited.strip())))
        except ValueError:
            continue
    return claims


@settings(deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
def test_same_claims_as_the_pattern(text):
    assert [(claim.boxes, claim.time_s) for claim in read_overspanning_claims(text)] == by_pattern(text)


def test_a_row_of_boxes_without_a_time_ends_soon():
    text = "<obj>a</obj>" + "<box>[1,2,3,4]</box>" * 400
    begin = time.perf_counter()
    assert read_overspanning_claims(text) == ()
    reread(parse_completion(f"<think>{text}</think>", BoxScale(1, 1)), Task.TEMPORAL_SPATIAL)
    assert time.perf_counter() - begin < 1.0
