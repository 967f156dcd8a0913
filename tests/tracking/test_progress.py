"""progress.json: what it says, how often it is written, and that it never stops a run."""

import json

from o3v.tracking.progress import ProgressFile


def read(folder):
    return json.loads((folder / "progress.json").read_text())


def test_what_it_says(tmp_path):
    told = ProgressFile(tmp_path, 10, "batches", every_s=0.0)
    told.tell(lambda: 4)
    assert read(tmp_path) | {"time_s": 0} == {
        "done": 4,
        "total": 10,
        "unit": "batches",
        "time_s": 0,
        "rate_per_s": None,
    }
    told.tell(lambda: 6)
    assert read(tmp_path)["done"] == 6 and read(tmp_path)["rate_per_s"] > 0


def test_it_is_written_seldom_and_when_forced(tmp_path):
    told, asked = ProgressFile(tmp_path, 10, "questions", every_s=3600.0), []
    for count in range(5):
        told.tell(lambda count=count: asked.append(count) or count)
    assert asked == [0] and read(tmp_path)["done"] == 0
    told.tell(lambda: 5, force=True)
    assert read(tmp_path)["done"] == 5


def test_a_place_that_cannot_be_written_stops_nothing(tmp_path):
    (tmp_path / "file").write_text("in the way")
    ProgressFile(tmp_path / "file", 10, "batches").tell(lambda: 1, force=True)
