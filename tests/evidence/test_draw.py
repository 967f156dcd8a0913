"""Pictures of whole answers: what is on them, and that every text can be drawn."""

import numpy as np
import pytest

from o3v.evidence.cited import cited_frames, nearest_frame
from o3v.evidence.draw import evidence_picture, readable
from o3v.evidence.timeline import MODEL, TRUTH, draw_timeline
from o3v.grounding.parse import parse_completion
from o3v.types import Task
from tests.evidence import clips


def columns_of(picture, colour):
    return np.nonzero((np.asarray(picture) == np.array(colour)).all(-1).any(0))[0]


def test_claims_and_annotations_find_their_frames():
    completion = clips.answer(f"{clips.claim(time='1.4')} {clips.claim('dog', time='99')}")
    frames = cited_frames(clips.clip(), completion, clips.sample())
    assert [frame.times_s for frame in frames] == [(), (1.4,), (), (99.0,)]
    assert [label for label, _ in frames[3].claimed] == ["dog"]
    assert [len(frame.annotated) for frame in frames] == [0, 0, 1, 0]


def test_everything_of_a_still_image_belongs_to_it():
    still = clips.clip(1, times=False)
    completion = clips.answer(clips.claim(time="7"), "<box>[0,0,10,10]</box>")
    sample = clips.sample(task=Task.VISUAL_QA, box=(0.0, 0.0, 0.2, 0.2), key_frames=())
    (frame,) = cited_frames(still, completion, sample)
    assert [label for label, _ in frame.claimed] == ["cat", "answer"]
    assert frame.annotated == (("answer", (0.0, 0.0, 0.2, 0.2)),)


def test_nearest_frame_prefers_the_earlier_of_equals():
    assert nearest_frame((0.0, 1.0), 0.5) == 0
    assert nearest_frame((0.0, 1.0), -5.0) == 0


@pytest.mark.parametrize("text", clips.NASTY)
@pytest.mark.parametrize("clip", [clips.clip(), clips.clip(1), clips.clip(1, times=False), clips.clip(12, size=30)])
@pytest.mark.parametrize("sample", [None, clips.sample()])
def test_every_text_can_be_drawn(text, clip, sample):
    picture = evidence_picture(clip, parse_completion(text, clips.SCALE), "What is it?", sample)
    assert picture.mode == "RGB" and picture.width >= 760 and picture.height < 3000


def test_the_strip_has_the_cited_frames_only():
    one = evidence_picture(clips.clip(8), clips.answer(clips.claim()), "?", None)
    three = evidence_picture(
        clips.clip(8), clips.answer(" ".join(clips.claim(time=str(k)) for k in (1, 3, 5))), "?", None
    )
    assert three.width > one.width
    none = evidence_picture(clips.clip(8), clips.answer("nothing"), "?", None)
    assert none.width == three.width  # first, middle and last


def test_the_timeline_shows_spans_where_they_are():
    clip, completion = clips.clip(11), clips.answer("", "From <t>2.5</t>s to <t>5.0</t>s")
    picture = draw_timeline(clip, completion, clips.sample(span_s=(5.0, 7.5), key_frames=()), 800, None)
    scale = (800 - 86 - 18) / 11
    model, truth = (columns[columns > 86] for columns in (columns_of(picture, c) for c in (MODEL, TRUTH)))
    assert (model.min(), model.max()) == pytest.approx((86 + 2.5 * scale, 86 + 5 * scale), abs=2)
    assert (truth.min(), truth.max()) == pytest.approx((86 + 5 * scale, 86 + 7.5 * scale), abs=2)
    swapped = draw_timeline(clip, clips.answer("", "From <t>5.0</t>s to <t>2.5</t>s"), None, 800, None)
    assert columns_of(swapped, MODEL).max() == model.max()


def test_answers_are_shown_without_tags():
    assert readable("From <t>2.0</t>s to <t>4</t>s\nCorrect Option: B") == "From 2.0 s to 4 s\nCorrect Option: B"
    assert readable("a < b > c") == "a < b > c"
