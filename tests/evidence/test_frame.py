"""Frames with boxes: where pixels change, and that no box or text raises."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from o3v.evidence.frame import PALETTE, draw_frame
from o3v.evidence.text import width_px, wrap

GREY = np.full((84, 84, 3), 128, dtype=np.uint8)
NUMBER = st.floats(width=32)  # nan and infinity too


def pixels(picture):
    return np.asarray(picture)


def has_colour(picture, colour):
    return (pixels(picture) == np.array(colour)).all(-1)


def test_small_frames_are_enlarged_without_new_colours():
    frame = np.zeros((84, 60, 3), dtype=np.uint8)
    frame[:, :30] = 200
    picture = draw_frame(frame, [], "")
    assert picture.size == (360, 504)
    assert set(np.unique(pixels(picture))) == {0, 200}
    assert (pixels(picture)[:, :180] == 200).all()


def test_wide_frames_are_made_smaller():
    assert draw_frame(np.zeros((400, 1920, 3), dtype=np.uint8), [], "").size == (960, 200)


def test_a_solid_box_lies_where_it_should():
    picture = draw_frame(GREY, [("cat", (0.25, 0.5, 0.75, 1.0))], "")
    ys, xs = np.nonzero(has_colour(picture, PALETTE[0]))
    assert xs.min() == pytest.approx(0.25 * 335, abs=2) and xs.max() == pytest.approx(0.75 * 335, abs=2)
    assert ys.max() == 335
    column = has_colour(picture, PALETTE[0])[180:330, round(0.75 * 335)]
    assert column.all()


def test_an_annotated_box_has_gaps():
    picture = draw_frame(GREY, [], "", annotated=[("cat", (0.25, 0.25, 0.75, 0.75))])
    column = has_colour(picture, PALETTE[0])[100:240, round(0.75 * 335)]
    assert 0.3 < column.mean() < 0.7


def test_a_name_keeps_its_colour_over_frames_and_case():
    colours = {}
    draw_frame(GREY, [("cat", (0, 0, 0.5, 0.5)), ("dog", (0, 0, 0.5, 0.5))], "", colours=colours)
    draw_frame(GREY, [("DOG", (0, 0, 0.5, 0.5))], "", annotated=[("Cat ", (0, 0, 1, 1))], colours=colours)
    assert colours == {"cat": PALETTE[0], "dog": PALETTE[1]}


def test_the_caption_stands_below():
    assert draw_frame(GREY, [], "3.0 s").height > draw_frame(GREY, [], "").height == 336


def test_the_frame_given_is_not_changed():
    frame = np.full((400, 400, 3), 128, dtype=np.uint8)
    draw_frame(frame, [("cat", (0, 0, 1, 1))], "")
    assert (frame == 128).all()


@given(st.tuples(NUMBER, NUMBER, NUMBER, NUMBER), st.text(max_size=30), st.text(max_size=30))
@settings(max_examples=60, deadline=None)
def test_no_box_and_no_text_raises(box, label, caption):
    picture = draw_frame(GREY, [(label, box)] * 2, caption, annotated=[(label, box)])
    assert picture.width == 336


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1)])
def test_odd_shapes_are_drawn(shape):
    draw_frame(np.zeros((*shape, 3), dtype=np.uint8), [("cat", (0, 0, 1, 1))], "x")


def test_surrogates_and_line_breaks_are_drawn():
    draw_frame(GREY, [("a\ud800\n", (0, 0, 1, 1))], "\n\x00\ud800")


@given(st.text(max_size=200), st.integers(1, 4))
@settings(max_examples=50, deadline=None)
def test_lines_fit(text, max_lines):
    lines = wrap(text, 15, 120, max_lines)
    assert len(lines) <= max_lines
    assert all(width_px(line, 15) <= 120 or len(line) <= 2 for line in lines)


def test_text_that_is_left_over_shows():
    assert wrap("word " * 50, 15, 100, 2)[-1].endswith("…")
    assert wrap("x" * 500, 15, 100, 3)[-1].endswith("…")
    assert wrap("", 15, 100, 3) == []
