"""The rules without a model: source filters, boxes, prompts, names of what is written."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from o3v.curation.box_check import BoxCheck
from o3v.curation.filters import SourceFilter, SourceRule
from o3v.curation.items import from_plain, to_plain
from o3v.curation.prompts import PromptTexts
from o3v.curation.proposal import merged, read_yes
from o3v.curation.publish import published_row, published_source
from o3v.curation.verify import CropView, sentence_at
from o3v.errors import ConfigError, MediaError
from o3v.types import KeyFrame
from tests.curation.parts import candidate

FREE = SourceRule("", None, None, None, None, None, None, None)
PAPER = replace(FREE, min_duration_s=10.0, max_duration_s=180.0, max_span_share=0.5)
BOXES = BoxCheck(max_area=0.8, min_area=0.0001, tolerance=0.02)


def why(one, rule, duration_s=100.0) -> str:
    return SourceFilter({"one": rule}, 0).outcome(one, lambda _: duration_s).decisions[-1].reason


@pytest.mark.parametrize(
    ("rule", "duration_s", "span_s", "expected"),
    [
        (PAPER, 10.0, None, ""),
        (PAPER, 9.99, None, "video too short"),
        (PAPER, 180.0, None, ""),
        (PAPER, 180.1, None, "video too long"),
        (PAPER, 100.0, (0.0, 50.0), ""),
        (PAPER, 100.0, (0.0, 50.1), "span too large"),
        (replace(FREE, span_share_below=0.7), 100.0, (0.0, 69.9), ""),
        (replace(FREE, span_share_below=0.7), 100.0, (0.0, 70.0), "span too large"),
        (FREE, 100.0, (90.0, 120.0), "span outside the video"),
        (FREE, 100.0, (5.0, 5.0), "span outside the video"),
        (FREE, 100.0, (-1.0, 5.0), "span outside the video"),
        (replace(FREE, tasks=["temporal QA"]), 100.0, None, "task"),
        (replace(FREE, prefix="STR_"), 100.0, None, "no rule for the source"),
        (replace(FREE, reasoning_chars_below=10), 100.0, None, "reasoning too long"),
    ],
)
def test_source_rules(rule, duration_s, span_s, expected):
    assert why(candidate(span_s=span_s, reasoning="x" * 10), rule, duration_s) == expected


def test_a_video_that_cannot_be_read():
    def broken(_):
        raise MediaError("a.mp4", "no video stream")

    decision = SourceFilter({"one": FREE}, 0).outcome(candidate(), broken).decisions[-1]
    assert (decision.reason, decision.values) == ("media", {"detail": "no video stream"})


def test_the_longest_prefix_decides():
    found = SourceFilter({"any": FREE, "str": replace(FREE, prefix="STR_"), "plm": replace(FREE, prefix="STR_plm")}, 0)
    assert [found.rule_of(name).prefix for name in ("own", "STR_x", "STR_plm_rdcap")] == ["", "STR_", "STR_plm"]
    with pytest.raises(ConfigError, match="one prefix"):
        SourceFilter({"a": FREE, "b": PAPER}, 0)


@given(st.permutations(range(12)))
def test_the_draw_depends_on_seed_and_ids_alone(order):
    rows = [candidate(id=f"r{n}") for n in order]

    def drawn(seed):
        found = SourceFilter({"one": replace(FREE, take=4)}, seed)
        outcomes = found.drawn([found.outcome(row, lambda _: 60.0) for row in rows])
        return {outcome.candidate.id for outcome in outcomes if outcome.candidate}

    assert drawn(0) == {"r1", "r4", "r5", "r6"}
    assert any(drawn(0) != drawn(seed) for seed in range(1, 5))


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((0.0, 0.0, 1.0, 0.8), ""),
        ((0.0, 0.0, 1.0, 0.801), "box too large"),
        ((0.0, 0.0, 1.02, 0.5), ""),
        ((0.0, 0.0, 1.03, 0.5), "box outside the frame"),
        ((1.0, 0.0, 1.02, 0.5), "box outside the frame"),
        ((0.5, 0.5, 0.5, 0.6), "box has no area"),
        ((0.0, 0.0, 0.005, 0.005), "box too small"),
    ],
)
def test_boxes(box, expected):
    one = candidate(key_frames=(KeyFrame(2.0, {"ball": (box,), "dog": ((0.1, 0.1, 0.2, 0.2),)}, None),))
    outcome = BOXES.outcome(one)
    assert outcome.decisions[0].reason == expected
    assert ("ball" in outcome.candidate.key_frames[0].boxes) == (not expected)
    alone = candidate(key_frames=(KeyFrame(2.0, {"ball": (box,)}, None),))
    assert (BOXES.outcome(alone).candidate is None) == bool(expected)


def test_a_box_that_sticks_out_is_cut():
    one = candidate(key_frames=(KeyFrame(2.0, {"ball": ((-0.01, 0.0, 0.5, 1.01),)}, None),))
    assert BOXES.outcome(one).candidate.key_frames[0].boxes["ball"] == ((0.0, 0.0, 0.5, 1.0),)


def test_prompts_name_what_they_may():
    texts = {name: "" for name in ("system", "question", "segment", "caption", "crop", "sentence")}
    assert PromptTexts(**texts | {"crop": "a $name for $$5?"}).fill("crop", {"name": "$x"}) == "a $x for $5?"
    for crop in ("a $nmae?", "costs $ 5", "${name"):
        with pytest.raises(ConfigError, match=r"prompts\.crop.*\$name"):
            PromptTexts(**texts | {"crop": crop})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Yes", True),
        ("no.", False),
        ("**Yes**, it is", True),
        ("I do not know", None),
        ("nothing", None),
        ("<think>yes?</think><answer>no</answer>", False),
    ],
)
def test_yes_and_no(text, expected):
    assert read_yes(text) is expected


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.integers(1, 60), st.integers(1, 60))
def test_every_box_can_be_cut_out(a, b, c, d, width, height):
    import numpy as np

    frame = np.zeros((height, width, 3), np.uint8)
    box = (min(a, b), min(c, d), max(a, b), max(c, d))
    crop = CropView(0.1, 3136, 12544).cut(frame, box, 28)
    assert crop.shape[0] % 28 == crop.shape[1] % 28 == 0 and crop.size


@given(st.text(max_size=50), st.integers(0, 50), st.integers(0, 50))
def test_a_sentence_of_any_text(text, start, end):
    sentence_at(text, min(start, end, len(text)), max(min(start, len(text)), min(end, len(text))))


def test_rows_keep_their_names():
    assert [
        published_source(name) for name in ("STR_plm_rdcap", "TVG_tacos", "a/b c", "videoespresso_train_video")
    ] == [
        "STR_plm_rdcap",
        "STR_tacos",
        "STR_a_b_c",
        "videoespresso_train_video",
    ]
    row = published_row(candidate(video="sub/a.mp4"), "rl", stills=True)
    assert (row["reasoning_process"], row["video_path"]) == ("", "sub/a.mp4")
    assert [frame["path"] for frame in row["key_frames"]] == ["sub/a_00002000.jpg", "sub/a_00005000.jpg"]
    assert set(row["key_items"]) == {"1", "2"}


def test_candidates_survive_the_file():
    one = candidate(span_s=(1.0, 2.0))
    assert from_plain(to_plain(one)) == one


def test_one_time_is_one_key_frame():
    box, other = (0.0, 0.0, 0.1, 0.1), (0.2, 0.2, 0.3, 0.3)
    frames = merged([(2.0, "a", (box,)), (2.0, "a", (box, other)), (1.0, "b", (box,))])
    assert frames == (KeyFrame(1.0, {"b": (box,)}, None), KeyFrame(2.0, {"a": (box, other)}, None))
