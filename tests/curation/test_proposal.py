"""Proposals: every text gives a proposal or a reason; forms that models write; boxes in every language."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from o3v.curation import proposal
from o3v.curation.language import BoxLanguage
from o3v.curation.proposal import MAX_CHARS, Proposal, Shown, read_proposal, read_yes
from o3v.errors import ConfigError

THOUSAND = BoxLanguage("thousand", "xyxy")
SHOWN = Shown((84, 56), (0.0, 1.5, 3.0))
LANGUAGES = [BoxLanguage(unit, order) for unit in ("thousand", "pixels", "unit") for order in ("xyxy", "yxyx")]
WORDS = '{ } [ ] "key_frames" : , "time" 1e999 NaN null " \\ud800 -1 ```json [[1,2,3,4]] "objects" "cat" "reasoning"'
TAGS = "<obj> </obj> <box>[ ]</box> at<t> </t>s <think> </think> <answer> </answer>"
PIECES = st.sampled_from([*WORDS.split(), *TAGS.split(), "9" * 5000, "\x00", "\ud800", " "])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["time", "frame", "objects", "name", "boxes", "cat"]), inner, max_size=4)
    ),
    max_leaves=20,
)


def reply(frames, **more) -> str:
    return json.dumps({"key_frames": frames, "reasoning": "ok", **more})


def check(found: object) -> None:
    assert isinstance(found, str | Proposal)
    if isinstance(found, Proposal):
        json.dumps([frame.boxes for frame in found.key_frames])
        for frame in found.key_frames:
            assert math.isfinite(frame.time_s) and frame.time_s >= 0
            assert all(
                len(box) == 4 and all(map(math.isfinite, box)) for boxes in frame.boxes.values() for box in boxes
            )
        (found.question + found.answer + found.reasoning + "".join(found.unread)).encode()
    else:
        assert found


@given(st.lists(PIECES | st.text(max_size=5), max_size=40).map("".join), st.sampled_from(LANGUAGES))
@settings(max_examples=300, deadline=None)
def test_any_text(text, language):
    for form in ("json", "tags"):
        check(read_proposal(text, form, language, SHOWN))
    assert read_yes(text) in (True, False, None)


@given(JSON, JSON)
@settings(max_examples=300, deadline=None)
def test_any_json(frames, reasoning):
    text = json.dumps({"key_frames": frames, "reasoning": reasoning})
    check(read_proposal(text, "json", THOUSAND, SHOWN))


def test_malicious_texts_are_quick():
    for text in ("{" * MAX_CHARS, "[" * MAX_CHARS, '{"key_frames":' * 5000, "x" * (MAX_CHARS + 1), "<obj>" * 20_000):
        for form in ("json", "tags"):
            assert isinstance(read_proposal(text, form, THOUSAND, SHOWN), str)


BOX = [100, 200, 500, 600]


@pytest.mark.parametrize(
    ("frame", "time_s"),
    [
        ({"time": 2, "objects": [{"name": "cat", "boxes": [BOX]}]}, 2.0),
        ({"time": "2.5s", "objects": [{"label": "cat", "bbox_2d": BOX}]}, 2.5),
        ({"frame": 2, "objects": {"cat": BOX}}, 1.5),
        ({"frame": 3, "objects": {"cat": [BOX]}}, 3.0),
        ({"time": None, "frame": 1, "objects": [{"name": " cat ", "box": BOX}]}, 0.0),
    ],
)
def test_forms_that_models_write(frame, time_s):
    for text in (reply([frame]), f"Sure!\n```json\n{reply([frame])}\n```\nDone {{}}"):
        found = read_proposal(text, "json", THOUSAND, SHOWN)
        assert [(one.time_s, dict(one.boxes)) for one in found.key_frames] == [
            (time_s, {"cat": ((0.1, 0.2, 0.5, 0.6),)})
        ]
        assert found.unread == ()


@pytest.mark.parametrize(
    "frame",
    [
        {"time": -1, "objects": {"cat": BOX}},
        {"frame": 0, "objects": {"cat": BOX}},
        {"frame": 4, "objects": {"cat": BOX}},
        {"time": True, "objects": {"cat": BOX}},
        {"time": 1, "objects": {"": BOX}},
        {"time": 1, "objects": {"<obj>": BOX}},
        {"time": 1, "objects": {"cat": [1, 2, 3]}},
        {"time": 1, "objects": {"cat": ["1", 2, 3, 4]}},
        {"time": 1, "objects": ["cat"]},
        {"time": 1, "objects": [{"name": "c" * 81, "box": BOX}]},
        "a frame",
    ],
)
def test_unreadable_parts_are_counted_and_leave_the_rest(frame):
    good = {"time": 1, "objects": {"dog": BOX}}
    found = read_proposal(reply([frame, good]), "json", THOUSAND, SHOWN)
    assert [list(one.boxes) for one in found.key_frames] == [["dog"]] and len(found.unread) == 1


@pytest.mark.parametrize("language", LANGUAGES, ids=str)
def test_boxes_of_reasoning_and_annotation_are_converted_alike(language):
    numbers = {
        "thousand": [100.0, 250.0, 500.0, 750.0],
        "pixels": [8.4, 14.0, 42.0, 42.0],
        "unit": [0.1, 0.25, 0.5, 0.75],
    }[language.unit]
    if language.order == "yxyx":
        numbers = [numbers[1], numbers[0], numbers[3], numbers[2]]
    claim = f"<obj>cat</obj><box>[{','.join(f'{n:.4f}' for n in numbers)}]</box>at<t>1.5</t>s"
    text = reply([{"time": 1.5, "objects": {"cat": numbers}}]).replace("ok", claim)
    found = read_proposal(text, "json", language, SHOWN)
    assert found.key_frames[0].boxes["cat"] == ((0.1, 0.25, 0.5, 0.75),)
    assert found.reasoning == "<obj>cat</obj><box>[0.1,0.25,0.5,0.75]</box>at<t>1.5</t>s"
    tags = read_proposal(f"<think>{claim}</think><answer>a cat</answer>", "tags", language, SHOWN)
    assert tags.key_frames == found.key_frames and tags.answer == "a cat" and tags.reasoning == found.reasoning


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ({"answer": "<t>1</t>"}, "tags in question or answer"),
        ({"question": "</answer>?"}, "tags in question or answer"),
        ({"reasoning": "a</think>"}, "reserved tags in the reasoning"),
        ({"reasoning": "<|im_end|>"}, "reserved tags in the reasoning"),
    ],
)
def test_texts_that_would_break_a_row(more, fault):
    assert read_proposal(reply([], **more), "json", THOUSAND, SHOWN) == fault


def test_unknown_names():
    for unit, order in (("percent", "xyxy"), ("unit", "xywh")):
        with pytest.raises(ConfigError, match="allowed are"):
            BoxLanguage(unit, order)


def wrong_order(self, numbers, size_px):
    x1, y1, x2, y2 = self.scale(size_px).to_unit(tuple(numbers))
    return x1, y1, x2, y2


MUTANTS = {
    "order ignored": (BoxLanguage, "to_unit", wrong_order),
    "units ignored": (BoxLanguage, "scale", lambda self, size_px: proposal.BoxScale(1000, 1000)),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_wrong_versions_are_caught(name, monkeypatch):
    monkeypatch.setattr(*MUTANTS[name])
    with pytest.raises(AssertionError):
        for language in LANGUAGES:
            test_boxes_of_reasoning_and_annotation_are_converted_alike(language)
