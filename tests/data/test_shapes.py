"""The generated world: what is annotated is what is drawn."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from o3v.data import shapes
from o3v.data.shapes import COLOURS, DIRECTIONS, SHAPES, render
from tests.data.worlds import FULL

SEEDS = st.integers(0, 2**40)


@given(SEEDS)
def test_boxes_lie_inside_and_never_overlap_within_a_frame(seed):
    scene = FULL.scene(seed)
    assert FULL.min_objects <= len(scene.objects) <= FULL.max_objects
    for frame in range(scene.n_frames):
        boxes = [FULL.box(item, frame) for item in scene.objects if item.is_visible(frame)]
        assert all(0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1 for x1, y1, x2, y2 in boxes)
        assert not any(overlap(a, b) for k, a in enumerate(boxes) for b in boxes[:k])


def overlap(a, b):
    eps = 1e-9
    return min(a[2], b[2]) - max(a[0], b[0]) > eps and min(a[3], b[3]) - max(a[1], b[1]) > eps


def test_a_world_that_places_blindly_is_caught(monkeypatch):
    monkeypatch.setattr(shapes.ShapesWorld, "_overlap", lambda self, a, b: False)
    with pytest.raises(AssertionError):
        test_boxes_lie_inside_and_never_overlap_within_a_frame()


@given(SEEDS)
def test_objects_are_what_the_rules_allow(seed):
    scene = FULL.scene(seed)
    assert len({item.colour for item in scene.objects}) == len(scene.objects)
    for item in scene.objects:
        assert item.colour in FULL.colours and item.shape in FULL.shapes
        assert FULL.min_visible <= len(item.corners_px) <= FULL.max_visible
        assert 0 <= item.first_frame <= item.last_frame < FULL.n_frames
        steps = np.diff(np.array(item.corners_px), axis=0)
        assert (steps == FULL.speed_px * np.array(DIRECTIONS[item.direction])).all()
        assert not np.array(item.corners_px[0]).astype(int) % FULL.grid_px @ np.ones(2, int)


@settings(max_examples=30)
@given(SEEDS)
def test_the_objects_colour_is_at_the_centre_of_its_box_while_it_is_seen(seed):
    scene = FULL.scene(seed)
    frames = render(FULL, scene)
    assert frames.shape == (8, 84, 84, 3) and frames.dtype == np.uint8
    for item in scene.objects:
        for frame in range(scene.n_frames):
            if item.is_visible(frame):
                x1, y1, x2, y2 = (v * FULL.frame_px for v in FULL.box(item, frame))
                x, y = int((x1 + x2) / 2), int((y1 + y2) / 2)
                assert tuple(frames[frame, y, x]) == COLOURS[item.colour]
            else:
                assert not (frames[frame] == COLOURS[item.colour]).all(-1).any()


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_fill_their_box(shape):
    mask = shapes._shape_mask(shape, 28)
    rows, columns = np.nonzero(mask)
    assert rows.min() <= 1 and (rows.max(), columns.min(), columns.max()) == (27, 0, 27)  # the apex is half a pixel
    assert (mask == mask[:, ::-1]).all()


def test_shapes_differ():
    areas = {shape: shapes._shape_mask(shape, 28).mean() for shape in SHAPES}
    assert areas["square"] == 1.0
    assert areas["circle"] == pytest.approx(np.pi / 4, abs=0.02) and areas["triangle"] == pytest.approx(0.5, abs=0.03)


@given(SEEDS)
def test_a_still_shows_everything_in_its_one_frame(seed):
    scene = FULL.still(seed)
    assert scene.n_frames == 1 and all(item.is_visible(0) for item in scene.objects)


def test_the_seed_decides():
    assert FULL.scene(5) == FULL.scene(5) and FULL.scene(5) != FULL.scene(6)
    assert np.array_equal(render(FULL, FULL.scene(5)), render(FULL, FULL.scene(5)))
    assert FULL.scene(5).objects != FULL.still(5).objects


def test_the_number_of_objects_can_be_asked_for():
    assert [len(FULL.scene(1, n).objects) for n in (1, 2, 3)] == [1, 2, 3]
    assert {len(FULL.scene(seed).objects) for seed in range(40)} == {1, 2, 3}


def test_levels_of_difficulty():
    many = replace(FULL, max_objects=4, min_objects=4, size_px=14, max_visible=8, min_visible=6, grid_px=7, speed_px=7)
    scene = many.scene(3)
    assert len(scene.objects) == 4 and all(len(item.corners_px) >= 6 for item in scene.objects)
    assert many.time_s(3) == 3.0 and replace(many, fps=2.0).time_s(3) == 1.5


def test_noise_is_only_in_the_background():
    scene = FULL.scene(11)
    quiet, loud = render(replace(FULL, noise=0.0), scene), render(replace(FULL, noise=30.0), scene)
    assert quiet[0].std() < loud[0].std()
    assert (quiet[0] == quiet[-1]).all(-1).any()
