"""Rows of the official layout: every task and source, every mistake named, every box normalised."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from o3v.data.rows import RowError, read_row
from o3v.data.stgr import StgrDataset, read_stgr
from o3v.errors import DataError
from o3v.types import Sample, Task
from o3v.video.reader import ClipReader
from o3v.video.sampling import FrameSampling

REAL = Path(__file__).parents[3] / "shared" / "data" / "stgr_real"

SPATIAL = {
    "id": "a1",
    "source": "STR_plm_rdcap",
    "task": "temporal-spatial free-form QA",
    "question": "Who runs?",
    "answer": "A man.",
    "reasoning_process": "A <obj>man</obj><box>[0.46, 0.43, 0.77, 0.94]</box>at<t>47.5</t>s runs.",
    "video_path": "sub/v.mp4",
    "image_path": "",
    "image_size": [],
    "key_frames": [{"idx": 2, "time": 50, "path": "v_2.jpg"}, {"idx": 1, "time": 47.5, "path": "v_1.jpg"}],
    "key_items": {
        "1": {"man": [[0.46, 0.43, 0.77, 0.94]], "dog": None},
        "2": {"dog": [[0.1, 0.2, 0.3, 0.4], None], "man": None},
        "3": None,
    },
}
TEMPORAL = SPATIAL | {
    "source": "timerft",
    "task": "temporal QA",
    "answer": "[10.14, 14.36]",
    "reasoning_process": None,
    "key_frames": None,
    "key_items": None,
}
VISUAL = TEMPORAL | {
    "source": "TreeVGR",
    "task": "visual QA",
    "answer": "<obj>red ball</obj><box>[294,154,343,206]</box>",
    "reasoning_process": "See <obj>red ball</obj><box>[294,154,343,206]</box> and <box>[0,0,640,360]</box>.",
    "video_path": "",
    "image_path": "images/b.jpg",
    "image_size": [640, 360],
}
MCQ = TEMPORAL | {"source": "videor1_mcq", "task": "General video QA MCQ", "answer": "B"}


def row(base: dict, **changes: Any) -> dict:
    return base | changes


def read(published: dict) -> Sample:
    return read_row(published, "x", Path("/data"))


def test_a_spatial_row_keeps_its_boxes_and_sorts_its_key_frames():
    sample = read(SPATIAL)
    assert sample.task is Task.TEMPORAL_SPATIAL
    assert sample.video_path == Path("/data/videos/stgr/plm/videos/sub/v.mp4")
    assert sample.image_path is None
    assert [(k.time_s, dict(k.boxes)) for k in sample.key_frames] == [
        (47.5, {"man": ((0.46, 0.43, 0.77, 0.94),)}),
        (50.0, {"dog": ((0.1, 0.2, 0.3, 0.4),)}),
    ]
    assert sample.key_frames[0].image_path == Path("/data/videos/stgr/plm/kfs/v_1.jpg")
    assert "<box>[0.46,0.43,0.77,0.94]</box>at<t>47.5</t>s" in sample.reasoning


def test_visual_rows_are_normalised_by_the_image_size_in_both_texts():
    sample = read(VISUAL)
    assert sample.answer == "<obj>red ball</obj><box>[0.4594,0.4278,0.5359,0.5722]</box>"
    assert sample.reasoning.endswith("<box>[0.4594,0.4278,0.5359,0.5722]</box> and <box>[0,0,1,1]</box>.")
    assert sample.box == (0.4594, 0.4278, 0.5359, 0.5722)
    assert (sample.image_path, sample.video_path) == (Path("/data/videos/treevgr/images/b.jpg"), None)
    assert read(row(VISUAL, key_items={"0": {"x": "of unknown content"}})).key_frames == ()


@pytest.mark.parametrize(
    ("task", "published", "answer", "letter"),
    [
        ("temporal QA", "[10.14, 14.36]", "From <t>10.14</t>s to <t>14.36</t>s", None),
        ("temporal QA", "(10.14, 14.36)", "From <t>10.14</t>s to <t>14.36</t>s", None),
        ("temporal QA", [10.14, 14.36], "From <t>10.14</t>s to <t>14.36</t>s", None),
        ("temporal QA", "From <t>10.14</t>s to <t>14.36</t>s", "From <t>10.14</t>s to <t>14.36</t>s", None),
        ("temporal QA (MCQ)", "A\n[10.14, 14.36]", "From <t>10.14</t>s to <t>14.36</t>s\nCorrect Option: A", "A"),
        (
            "temporal QA (MCQ)",
            "From <t>10.14</t>s to <t>14.36</t>s\nCorrect Option: C",
            "From <t>10.14</t>s to <t>14.36</t>s\nCorrect Option: C",
            "C",
        ),
    ],
)
def test_temporal_answers_of_both_stages_become_one_sentence(
    task: str, published: Any, answer: str, letter: str | None
):
    sample = read(row(TEMPORAL, task=task, answer=published))
    assert (sample.answer, sample.span_s, sample.letter) == (answer, (10.14, 14.36), letter)


def test_general_rows():
    assert (read(MCQ).letter, read(MCQ).answer) == ("B", "B")
    assert read(row(MCQ, answer="B. a cat")).letter == "B"
    free = read(row(MCQ, task="General video QA Free-form", source="videor1_free_from", answer=3))
    assert (free.answer, free.letter) == ("3", None)
    image = read(row(MCQ, video_path="", image_path="i.jpg"))
    assert (image.video_path, image.image_path) == (None, Path("/data/videos/videor1/i.jpg"))


@pytest.mark.parametrize(
    ("source", "folder"),
    {
        "STR_plm_rdcap": "stgr/plm/videos",
        "STR_plm_other": "stgr/plm/videos",
        "STR_qvhighlight": "stgr/temporal_grounding/videos",
        "STR_queryd": "stgr/temporal_grounding/videos",
        "videoespresso_train_video": "videoespresso/videos",
        "timerft": "timerft",
        "TVG_hirest_grounding": "tvg_r1",
        "videor1_free_from": "videor1",
    }.items(),
)
def test_the_source_decides_the_folder(source: str, folder: str):
    assert read(row(TEMPORAL, source=source)).video_path == Path("/data/videos") / folder / "sub/v.mp4"


def test_the_source_decides_the_folder_of_images():
    for source, folder in {"TreeVGR": "treevgr", "gqa": "gqa"}.items():
        assert read(row(VISUAL, source=source)).image_path == Path("/data/videos") / folder / "images/b.jpg"


def spatial_box(box: Any) -> dict:
    return row(SPATIAL, key_items={"1": {"man": [box]}})


MISTAKES = {
    "no videos": (row(TEMPORAL, source="gqa"), "source: 'gqa' has no videos"),
    "task": (row(SPATIAL, task="QA"), "task: unknown task 'QA', allowed are visual QA, temporal QA"),
    "source": (row(SPATIAL, source="xSTRx"), r"source: unknown source 'xSTRx', allowed are STR_plm\*, STR_\*"),
    "no source": (row(SPATIAL, source=None), "source: None, wanted a text"),
    "question": (row(SPATIAL, question="  "), "question: '  ', wanted a text that is not empty"),
    "video_path": (row(SPATIAL, video_path=None), "video_path: None, wanted a text"),
    "climbs": (row(SPATIAL, video_path="a/../../v.mp4"), "video_path: .* leaves the data root"),
    "absolute": (row(SPATIAL, video_path="/etc/passwd"), "video_path: '/etc/passwd' leaves the data root"),
    "key frame climbs": (row(SPATIAL, key_frames=[{"idx": 1, "time": 1, "path": "../x"}]), "key_frames.0..path: "),
    "outside": (spatial_box([0.1, 0.1, 1.5, 0.5]), r"key_items.1..'man'.: box \[0.1, 0.1, 1.5, 0.5\] lies outside"),
    "pixels": (spatial_box([10, 20, 60, 80]), "lies outside the frame"),
    "inverted": (spatial_box([0.5, 0.1, 0.4, 0.5]), "has no area, wanted x1 < x2 and y1 < y2"),
    "three": (spatial_box([0.1, 0.2, 0.3]), r"\[0.1, 0.2, 0.3\], wanted \[x1, y1, x2, y2\]"),
    "text box": (spatial_box(["0.1", 0.2, 0.3, 0.4]), r"wanted \[x1, y1, x2, y2\]"),
    "nan box": (spatial_box([float("nan"), 0.2, 0.3, 0.4]), r"wanted \[x1, y1, x2, y2\]"),
    "no key frames": (row(SPATIAL, key_frames=[]), "key_frames: empty"),
    "key_frames": (row(SPATIAL, key_frames={"a": 1}), "key_frames: .* wanted a list"),
    "time": (row(SPATIAL, key_frames=[{"idx": 1, "time": "3"}]), r"key_frames.0..time: '3', wanted seconds"),
    "negative": (row(SPATIAL, key_frames=[{"idx": 1, "time": -1}]), r"key_frames.0..time: -1, wanted seconds"),
    "idx": (row(SPATIAL, key_frames=[{"time": 1}]), r"key_frames.0..idx: None"),
    "thought box": (
        row(SPATIAL, reasoning_process="<box>[0.1,0.1,3,0.4]</box>"),
        "reasoning_process: box .* lies outside the frame",
    ),
    "segment": (row(TEMPORAL, answer="soon"), "answer: 'soon' names no segment, wanted"),
    "reversed": (row(TEMPORAL, answer="[5, 2]"), r"answer: segment \[5.0, 2.0\], wanted 0 <= start < end"),
    "no letter": (row(TEMPORAL, task="temporal QA (MCQ)", answer="[1, 2]"), "answer: .* names no option"),
    "option": (row(MCQ, answer="maybe"), "answer: 'maybe' names no option, wanted a letter A to Z"),
    "image_size": (row(VISUAL, image_size=[]), r"image_size: \[\], wanted \[width, height\]"),
    "image": (row(VISUAL, image_path=""), "image_path: '', wanted a text"),
    "pixel box": (
        row(VISUAL, answer="<box>[0,0,900,100]</box>"),
        r"answer: box \[0.0, 0.0, 900.0, 100.0\] in 640x360 lies outside",
    ),
    "no box": (row(VISUAL, answer="A cat.", reasoning_process=""), "answer: no readable <box>"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_names_field_and_reason(name: str):
    published, message = MISTAKES[name]
    with pytest.raises(RowError, match=message):
        read(published)


def test_a_box_that_sticks_out_a_little_is_cut_to_the_frame():
    sample = read(spatial_box([-0.01, 0.2, 0.5, 1.01]))
    assert sample.key_frames[0].boxes["man"] == ((0.0, 0.2, 0.5, 1.0),)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(base=st.sampled_from([SPATIAL, TEMPORAL, VISUAL, MCQ]), field=st.sampled_from(list(SPATIAL)), value=json_values)
def test_any_value_in_any_field_is_a_sample_or_a_named_fault(base: dict, field: str, value: Any):
    try:
        sample = read(row(base, **{field: value}))
    except RowError as error:
        assert ": " in str(error)
        return
    assert (sample.video_path is None) != (sample.image_path is None)
    boxes = [b for key in sample.key_frames for group in key.boxes.values() for b in group]
    assert all(0 <= v <= 1 for box in boxes for v in box)


# --- files ---


def write_files(root: Path, rows: Any, media: tuple[str, ...] = ()) -> Path:
    """A data root with one annotation file and empty media files."""
    (root / "json_data").mkdir(parents=True, exist_ok=True)
    (root / "videos").mkdir(exist_ok=True)
    for name in media:
        path = root / "videos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    path = root / "json_data" / "a.json"
    path.write_text(rows if isinstance(rows, str) else json.dumps(rows))
    return path


PLM = "stgr/plm/videos/sub/v.mp4"


def dataset(root: Path, share: float) -> StgrDataset:
    return StgrDataset(root=str(root), annotation_file="json_data/a.json", max_fault_share=share)


def test_good_rows_go_on_and_bad_ones_are_counted_with_cause(tmp_path: Path):
    rows = [SPATIAL, row(SPATIAL, id="a2", question=""), row(TEMPORAL, id="a3"), "text", row(SPATIAL, id="a4")]
    write_files(tmp_path, rows, (PLM,))
    read_rows = dataset(tmp_path, 0.6)
    assert [sample.id for sample in read_rows.samples()] == ["a1", "a4"]
    assert [(f.sample_id, f.source, f.where) for f in read_rows.faults] == [
        ("a2", "STR_plm_rdcap", "row"),
        ("a3", "timerft", "missing media"),
        ("row-4", "?", "row"),
    ]
    with pytest.raises(DataError) as caught:
        dataset(tmp_path, 0.5).samples()
    for part in ("json_data/a.json: 3 of 5", "missing media/timerft 1", "a2 (STR_plm_rdcap, row): question: ''"):
        assert part in str(caught.value)


def test_ids_are_made_unique_and_stay_the_same(tmp_path: Path):
    rows = [SPATIAL, SPATIAL, row(SPATIAL, id=None), row(SPATIAL, id=7)]
    path = write_files(tmp_path, rows, (PLM,))
    assert [s.id for s in read_stgr(path, tmp_path).samples] == ["a1@row-1", "a1@row-2", "row-3", "7"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[\n {"id": 1,,}\n]', r"a\.json: broken JSON at line 2, column 11"),
        ("", "broken JSON at line 1, column 1"),
        ("[]", "wanted a JSON list of rows at the top, found an empty list"),
        ('{"rows": []}', "found a dict"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, text: str, message: str):
    write_files(tmp_path, text)
    with pytest.raises(DataError, match=message):
        dataset(tmp_path, 1.0).samples()


def test_missing_places_name_the_path_and_the_key(tmp_path: Path):
    with pytest.raises(DataError, match=r"none.*paths\.data_root"):
        dataset(tmp_path / "none", 1.0).samples()
    with pytest.raises(DataError, match=r"json_data/a\.json.*paths\.data_root"):
        dataset(tmp_path, 1.0).samples()
    write_files(tmp_path, "[]").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not UTF-8"):
        dataset(tmp_path, 1.0).samples()


def test_a_link_out_of_the_root_is_refused_but_a_source_folder_may_be_one(tmp_path: Path):
    outside, root = tmp_path / "outside", tmp_path / "root"
    (outside / "sub").mkdir(parents=True)
    (outside / "sub" / "v.mp4").write_bytes(b"x")
    path = write_files(root, [SPATIAL])
    folder = root / "videos/stgr/plm/videos"
    folder.mkdir(parents=True)
    (folder / "sub").symlink_to(outside / "sub")
    assert "leads out of the data root" in read_stgr(path, root).faults[0].reason
    (folder / "sub").unlink()
    (folder / "sub").mkdir()
    (folder / "sub" / "v.mp4").symlink_to(outside / "sub" / "v.mp4")
    assert "leads out of the data root" in read_stgr(path, root).faults[0].reason


def test_the_folder_of_a_source_may_be_linked_to_another_disk(tmp_path: Path):
    outside, root = tmp_path / "outside", tmp_path / "root"
    (outside / "sub").mkdir(parents=True)
    (outside / "sub" / "v.mp4").write_bytes(b"x")
    path = write_files(root, [SPATIAL])
    (root / "videos/stgr/plm").mkdir(parents=True)
    (root / "videos/stgr/plm/videos").symlink_to(outside)
    assert len(read_stgr(path, root).samples) == 1


# --- the real layout ---

PAPER = ClipReader(
    sampling=FrameSampling(max_frames=16, min_frames=4, fps=2.0, insert_key_frames=True),
    min_pixels=3136,
    max_pixels=128 * 28 * 28,
    image_max_pixels=256 * 28 * 28,
    max_total_tokens=8192,
)


@pytest.mark.skipif(not REAL.exists(), reason="the real clip in the official layout is not on this machine")
@pytest.mark.parametrize(("name", "n_rows"), [("STGR-SFT.json", 5), ("STGR-RL.json", 6)])
def test_every_row_of_the_real_layout_reads_and_decodes(name: str, n_rows: int):
    data = StgrDataset(root=REAL, annotation_file=f"json_data/{name}", max_fault_share=0.0)
    samples = data.samples()
    assert (len(samples), data.faults) == (n_rows, ())
    for sample in samples:
        clip = PAPER.read(sample, factor=28)
        assert clip.original_size_px == (640, 360)
        assert len(clip.times_s) == (0 if sample.image_path else 16 + len(sample.key_frames))
        if sample.span_s:
            assert sample.span_s[0] == pytest.approx(10.14, abs=0.1)
            assert sample.span_s[1] == pytest.approx(14.36, abs=0.1)
        if sample.box:
            assert sample.box == (0.4594, 0.4278, 0.5359, 0.5722)


@pytest.mark.skipif(not REAL.exists(), reason="the real clip in the official layout is not on this machine")
def test_key_frames_decoded_from_the_video_show_the_published_pictures_and_the_ball():
    data = StgrDataset(root=REAL, annotation_file="json_data/STGR-RL.json", max_fault_share=0.0)
    sample = data.samples()[0]
    clip = PAPER.read(sample, factor=28)
    for key in sample.key_frames:
        shown = max(i for i, time_s in enumerate(clip.times_s) if time_s <= key.time_s + 1e-3)
        assert key.time_s - clip.times_s[shown] < 1 / 22
        picture = Image.open(key.image_path).convert("RGB").resize(clip.size_px)
        assert np.abs(clip.frames[shown].astype(int) - np.asarray(picture)).mean() < 12
        (x1, y1, x2, y2), (width, height) = key.boxes["red bowling ball"][0], clip.size_px
        ball = clip.frames[shown][int(y1 * height) : int(y2 * height), int(x1 * width) : int(x2 * width)]
        assert ball[..., 0].mean() > 1.5 * ball[..., 1:].mean()
