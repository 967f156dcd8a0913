"""TimeRFT's rows: temporal QA samples, every mistake a counted fault."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from o3v.data.rows import RowError
from o3v.data.timerft import TimeRftDataset, published_duration, read_timerft_row
from o3v.errors import DataError
from o3v.types import Task

REAL = Path(__file__).parents[3] / "shared" / "data" / "time_r1" / "train_2k5.json"
ROW = {
    "video": "./dataset/timer1/videos/timerft_data/QtWT8rxUuNk.mp4",
    "duration": 93.2932,
    "timestamp": [1.0, 4.0],
    "sentence": "A purple hanger.",
    "qid": "my|cosmo|QtWT8rxUuNk|A purple hanger.",
    "video_start": None,
    "video_end": None,
    "difficulty": 50.0,
    "pred": [0.0, 3.0],
}


def dataset(root, rows, share=1.0):
    (root / "rows.json").write_text(rows if isinstance(rows, str) else json.dumps(rows))
    (root / "videos").mkdir(exist_ok=True)
    return TimeRftDataset(root=str(root), annotation_file="rows.json", video_folder="videos", max_fault_share=share)


def test_a_row_is_a_temporal_sample(tmp_path):
    sample = read_timerft_row(ROW, "row-1", tmp_path)
    assert (sample.task, sample.source, sample.span_s) == (Task.TEMPORAL_QA, "timerft", (1.0, 4.0))
    assert sample.answer == "From <t>1.0</t>s to <t>4.0</t>s"
    assert sample.question == 'When does this happen in the video: "A purple hanger."?'
    assert sample.video_path == tmp_path / "QtWT8rxUuNk.mp4"
    assert published_duration(ROW) == 93.2932


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        ({"timestamp": [4.0, 4.0]}, "span_empty", "timestamp: segment"),
        ({"timestamp": [4.0, 1.0]}, "span_empty", "wanted 0 <= start < end"),
        ({"timestamp": [-1.0, 1.0]}, "span_outside", "timestamp"),
        ({"timestamp": [1.0]}, "unreadable", r"timestamp: \[1.0\]"),
        ({"timestamp": None}, "unreadable", "timestamp: None"),
        ({"timestamp": [1.0, float("nan")]}, "unreadable", "nan"),
        ({"sentence": ""}, "unreadable", "sentence: ''"),
        ({"video": ".."}, "unreadable", "wanted the path of a file"),
        ({"video": 3}, "unreadable", "video: 3"),
    ],
)
def test_a_fault_is_named(tmp_path, change, kind, said):
    with pytest.raises(RowError, match=said) as raised:
        read_timerft_row(ROW | change, "row-1", tmp_path)
    assert raised.value.kind == kind


def test_a_video_never_leaves_its_folder(tmp_path):
    sample = read_timerft_row(ROW | {"video": "/etc/../../etc/passwd"}, "row-1", tmp_path)
    assert sample.video_path == tmp_path / "passwd"


def test_missing_media_and_broken_rows_are_faults(tmp_path):
    found = dataset(tmp_path, [ROW, ROW | {"video": "there.mp4"}, "no object", ROW | {"timestamp": []}])
    (tmp_path / "videos" / "there.mp4").write_bytes(b"x")
    assert [sample.id for sample in found.samples()] == ["row-2"]
    assert [(fault.sample_id, fault.where) for fault in found.faults] == [
        ("row-1", "missing media"),
        ("row-3", "row"),
        ("row-4", "row"),
    ]
    with pytest.raises(DataError, match="3 of 4 samples are faulty"):
        dataset(tmp_path, found.path.read_text(), share=0.5).samples()


@pytest.mark.parametrize("text", ["{", "[]", "{}", "[" * 100_000])
def test_a_file_that_is_no_list_is_refused(tmp_path, text):
    with pytest.raises(DataError, match=r"rows\.json"):
        dataset(tmp_path, text).samples()


@pytest.mark.skipif(not REAL.is_file(), reason="the published rows are not on this machine")
def test_the_published_rows(tmp_path):
    rows = json.loads(REAL.read_text())
    samples = [read_timerft_row(row, str(n), tmp_path) for n, row in enumerate(rows)]
    assert len(samples) == 2500 and len({sample.video_path for sample in samples}) == 2475
