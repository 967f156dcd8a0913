"""The generated world on disk: written once, whole or not at all, and read as any STGR data set."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from o3v.data.shapes import COLOURS
from o3v.data.shapes_files import SPLITS, ShapesDataset
from o3v.errors import ConfigError, StorageError
from o3v.types import Task
from o3v.video.decode import open_video
from tests.data.worlds import FULL

TASKS = [str(task) for task in Task]


def dataset(root, **changes):
    values = {"split": "train", "file": "sft", "counts": dict.fromkeys(TASKS, 2), "seed": 0, "max_fault_share": 0.0}
    return ShapesDataset(root=str(root), world=FULL, **values | changes)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    data = dataset(tmp_path_factory.mktemp("world"))
    data.write()
    return data


def test_rows_read_as_an_stgr_data_set_in_both_forms(written):
    sft, rl = written.samples(), replace(written, file="rl").samples()
    assert [s.id for s in sft] == [s.id for s in rl] and len({s.id for s in sft}) == 12
    assert {s.task for s in sft} == set(Task)
    assert all(s.reasoning for s in sft) and not any(s.reasoning for s in rl)
    assert [(s.span_s, s.letter, s.box, s.key_frames) for s in sft] == [
        (s.span_s, s.letter, s.box, s.key_frames) for s in rl
    ]


def test_media_show_what_the_rows_say(written):
    seen = 0
    for sample in written.samples():
        if sample.image_path is not None:
            frames, boxes = {0.0: np.asarray(Image.open(sample.image_path))}, [(0.0, sample.question, sample.box)]
        else:
            with open_video(sample.video_path) as video:
                assert len(video.times_s) == 8 and video.index.end_s == pytest.approx(8.0)
                frames = {time_s: frame for time_s, frame in video.frames_at(tuple(video.times_s))}
            boxes = [(k.time_s, name, b) for k in sample.key_frames for name, bs in k.boxes.items() for b in bs]
        for time_s, text, box in boxes:
            colour = next(rgb for name, rgb in COLOURS.items() if name in text)
            x, y = int((box[0] + box[2]) / 2 * 84), int((box[1] + box[3]) / 2 * 84)
            assert (
                np.abs(frames[time_s][y, x].astype(int) - colour).max() < 40
            )  # H.264 and JPEG change colours a little
            seen += 1
    assert seen > 4


def test_rows_in_the_file_have_the_published_fields_only(written):
    rows = json.loads((written.folder / "json_data" / "STGR-SFT.json").read_text())
    text = "id source task question answer reasoning_process video_path image_path image_size key_frames key_items"
    assert {frozenset(row) for row in rows} == {frozenset(text.split())}


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_same_configuration_gives_the_same_bytes(written, tmp_path):
    again = dataset(tmp_path)
    again.write()
    assert again.folder.name == written.folder.name
    assert contents(again.folder) == contents(written.folder)


def test_writing_again_touches_nothing(written):
    before = {p: p.stat().st_mtime_ns for p in written.folder.rglob("*")}
    written.samples()
    assert {p: p.stat().st_mtime_ns for p in written.folder.rglob("*")} == before


def test_whatever_changes_the_scenes_changes_the_folder(written):
    others = [
        replace(written, seed=1),
        replace(written, split="heldout"),
        replace(written, counts={"visual QA": 3}),
        replace(written, world=replace(FULL, noise=1.0)),
    ]
    assert len({data.folder for data in (written, *others)}) == 5
    assert replace(written, file="rl", max_fault_share=0.5).folder == written.folder


def test_splits_seeds_and_tasks_never_share_a_scene(tmp_path):
    seen = {}
    for seed in range(3):
        for split in SPLITS:
            data = dataset(tmp_path, split=split, seed=seed)
            for task in Task:
                for number in (0, 1, 50_000, 99_999):
                    scene = data._scene_seed(task, number)
                    assert seen.setdefault(scene, (seed, split, task, number)) == (seed, split, task, number)
                    assert scene * 1000 + 999 < 2**40  # where the captions of pretraining begin
    assert len(seen) == 3 * 3 * 6 * 4


def test_splits_show_different_pictures(tmp_path):
    pixels = []
    for split in SPLITS:
        data = dataset(tmp_path, split=split, counts={"visual QA": 3})
        pixels += [sample.image_path.read_bytes() for sample in data.samples()]
    assert len(set(pixels)) == 9


WRITE = """
import json, sys
from tests.data.test_shapes_files import dataset
data = dataset(sys.argv[1], counts={"temporal QA": int(sys.argv[2]), "visual QA": 5})
print(len(data.samples()))
"""


def start(root, count):
    return subprocess.Popen([sys.executable, "-c", WRITE, str(root), str(count)], stdout=subprocess.PIPE, text=True)


def test_two_processes_at_once_write_one_folder(tmp_path):
    started = [start(tmp_path, 20) for _ in range(2)]
    assert [process.communicate(timeout=120)[0].strip() for process in started] == ["25", "25"]
    folders = [path for path in tmp_path.iterdir() if path.is_dir()]
    assert len(folders) == 1 and not folders[0].name.startswith(".")
    assert len(list(folders[0].rglob("*.mp4"))) == 20


def test_a_killed_writer_leaves_no_half_folder(tmp_path):
    killed = start(tmp_path, 3000)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".train-*/videos/**/*.mp4")):
        assert time.monotonic() < deadline and killed.poll() is None
        time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    data = dataset(tmp_path, counts={"temporal QA": 3000, "visual QA": 5})
    assert not data.folder.exists()
    small = dataset(tmp_path, counts={"temporal QA": 3})
    assert len(small.samples()) == 3  # the lock of the killed process holds nobody up


def test_what_was_left_half_written_is_written_afresh(tmp_path):
    data = dataset(tmp_path, counts={"visual QA": 2})
    aside = data.folder.with_name(f".{data.folder.name}")
    (aside / "videos").mkdir(parents=True)
    (aside / "videos" / "stale.mp4").write_text("half")
    assert len(data.samples()) == 2
    assert not aside.exists() and not list(tmp_path.rglob("stale.mp4"))


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match=r"file/train-.*cannot write the generated data"):
        dataset(tmp_path / "file").write()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": "test"}, r"data.dataset.split='test'.*heldout.*probe.*train"),
        ({"file": "dpo"}, r"data.dataset.file='dpo'.*rl.*sft"),
        ({"counts": {"temporal": 2}}, r"data.dataset.counts: unknown task 'temporal'.*temporal QA"),
    ],
)
def test_values_that_are_not_allowed(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        dataset(tmp_path, **changes)
