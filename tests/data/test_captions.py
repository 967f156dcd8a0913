"""Captions for pretraining: a pure function of (seed, step), and what they say is true of the picture."""

import re

import numpy as np
import pytest

from o3v.data.captions import CLIP_CAPTIONS, STILL_CAPTIONS, Captions, CaptionStage, clip_of
from o3v.data.shapes import COLOURS
from o3v.models.family import FAMILIES
from tests import tiny
from tests.data.worlds import FULL

SCALES = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)


def only(kind, batch=20, objects=2):
    return Captions(FULL, [CaptionStage(1.0, batch, {kind: 1.0}, objects)], 10)


def test_a_batch_is_a_function_of_seed_and_step():
    captions = tiny.captions(steps=6)
    family = FAMILIES["qwen2_5_vl"]
    first, again = captions.prompts(3, 4, family), captions.prompts(3, 4, family)
    for a, b in zip(first, again, strict=True):
        assert (a.parts, a.target, a.clip.times_s) == (b.parts, b.target, b.clip.times_s)
        assert np.array_equal(a.clip.frames, b.clip.frames)
    for other in (captions.prompts(3, 5, family), captions.prompts(4, 4, family)):
        assert [p.target for p in other] != [p.target for p in first]


@SCALES
@pytest.mark.parametrize("kind", STILL_CAPTIONS)
def test_numbers_of_stills_are_boxes_of_the_colours_they_follow(family, kind):
    for prompt in only(kind).prompts(0, 0, family):
        found = re.findall(rf"({'|'.join(COLOURS)})\D*?(\d+),(\d+),(\d+),(\d+)", prompt.target)
        assert found and prompt.clip.times_s == ()
        for colour, *numbers in found:
            box = prompt.box_scale.to_unit(tuple(map(int, numbers)))
            assert shows(prompt.clip.frames[0], box, COLOURS[colour])


def shows(frame, box, rgb):
    x, y = (int((box[k] + box[k + 2]) / 2 * frame.shape[1]) for k in (0, 1))
    return tuple(frame[y, x]) == rgb


@SCALES
@pytest.mark.parametrize("kind", ["claims", "starts"])
def test_claims_decode_to_boxes_at_their_times(family, kind):
    pattern = r"<obj>(\w+) \w+</obj><box>\[(\d+),(\d+),(\d+),(\d+)\]</box>at<t>([\d.]+)</t>s"
    for prompt in only(kind).prompts(1, 0, family):
        found = re.findall(pattern, prompt.target)
        assert found
        for colour, *numbers, time_s in found:
            frame = prompt.clip.frames[prompt.clip.times_s.index(float(time_s))]
            assert shows(frame, prompt.box_scale.to_unit(tuple(map(int, numbers))), COLOURS[colour])


@SCALES
@pytest.mark.parametrize("kind", ["track", "tracks"])
def test_tracks_tell_start_end_and_direction(family, kind):
    for prompt in only(kind).prompts(2, 0, family):
        for line in prompt.target.splitlines():
            ends = re.findall(r"(\d+\.\d),(\d+),(\d+),(\d+),(\d+)", line)
            colour, direction = re.match("|".join(COLOURS), line)[0], line.rsplit(";", 1)[1]
            for time_s, *numbers in ends:
                frame = prompt.clip.frames[prompt.clip.times_s.index(float(time_s))]
                assert shows(frame, prompt.box_scale.to_unit(tuple(map(int, numbers))), COLOURS[colour])
            (_, x1, y1, *_), (_, x2, y2, *_) = [tuple(map(float, end)) for end in ends]
            moved = (np.sign(x2 - x1), np.sign(y2 - y1))
            assert {"right": (1, 0), "left": (-1, 0), "down": (0, 1), "up": (0, -1)}[direction] == moved


def test_when_names_the_frames_in_which_the_object_is_seen():
    for prompt in only("when").prompts(3, 0, FAMILIES["qwen2_5_vl"]):
        start, end = map(float, prompt.target.split())
        rgb = COLOURS[prompt.parts[-1].split()[1]]
        seen = [t for t, f in zip(prompt.clip.times_s, prompt.clip.frames, strict=True) if (f == rgb).all(-1).any()]
        assert (seen[0], seen[-1]) == (start, end)


def test_every_kind_has_a_question_that_differs_from_its_answer():
    for kind in (*STILL_CAPTIONS, *CLIP_CAPTIONS):
        for prompt in only(kind, 3).prompts(0, 0, FAMILIES["qwen3_vl"]):
            assert prompt.parts[-1] and prompt.target and prompt.parts[-1] != prompt.target and prompt.system == ""


def test_stages_follow_the_share_of_steps():
    stages = [CaptionStage(0.5, 3, {"colour": 1.0}, 1), CaptionStage(1.0, 2, {"when": 1.0}, 2)]
    captions = Captions(FULL, stages, 10)
    family = FAMILIES["qwen2_5_vl"]
    sizes = [len(captions.prompts(0, step, family)) for step in range(10)]
    assert sizes == [3] * 5 + [2] * 5


def test_weights_decide_how_often_a_kind_is_drawn():
    stage = CaptionStage(1.0, 400, {"colour": 3.0, "when": 1.0}, 1)
    prompts = Captions(FULL, [stage], 1).prompts(0, 0, FAMILIES["qwen2_5_vl"])
    assert 0.68 < sum(not p.clip.times_s for p in prompts) / 400 < 0.82


def test_a_scene_as_a_clip_has_the_times_of_its_file():
    clip = clip_of(FULL, FULL.scene(0), FAMILIES["qwen2_5_vl"])
    assert clip.times_s == tuple(float(k) for k in range(8)) and clip.duration_s == 8.0
    assert clip_of(FULL, FULL.still(0), FAMILIES["qwen2_5_vl"]).times_s == ()
    assert clip.size_px == clip.original_size_px == (84, 84)
    assert clip_of(FULL, FULL.scene(0), FAMILIES["qwen3_vl"]).size_px == (96, 96)  # three tokens of 32 px
