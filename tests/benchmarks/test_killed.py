"""Real MP4 files, several workers, SIGKILL at any moment: only the record in flight is lost, the table is the same."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from o3v.benchmarks.ask import QuestionPreparer
from o3v.benchmarks.exam import exam_of
from o3v.benchmarks.question import FRAMES
from o3v.benchmarks.records import read_records
from o3v.benchmarks.report import build_report, write_report
from o3v.benchmarks.shards import ALONE, Shard, merge, record_files
from o3v.errors import MediaError
from tests.benchmarks.killed import FAMILY, READER, answer, benchmark
from tests.video.clips import even_times, write_clip

ROOT = Path(__file__).parents[2]
N_VIDEOS, N_EACH = 5, 4


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """Five videos, one of them broken, each with four queries, two of them about a part."""
    folder = tmp_path_factory.mktemp("media")
    (folder / "videos").mkdir()
    rows = []
    for number in range(N_VIDEOS):
        path = folder / "videos" / f"v{number}.mp4"
        if number == 3:
            path.write_bytes(b"no video")
        else:
            write_clip(path, even_times(50 + 10 * number))
        for k in range(N_EACH):
            part = (0.5, 1.7) if k % 2 else (None, None)
            rows.append({"path": str(path), "question": f"event {k}", "answer": f"{k / 10}-1.5", "duration": 2.0})
            rows[-1] |= {"start": part[0], "end": part[1], "dataset_name": "made", "qsemtype": "x"}
    random.Random(0).shuffle(rows)
    (folder / "rows.json").write_text(json.dumps(rows))
    return folder


@pytest.fixture(scope="module")
def straight(media, tmp_path_factory):
    """Records and table of a run that nothing stopped."""
    return table(media, tmp_path_factory.mktemp("straight"))


def table(media, folder):
    """Ends a run with one worker; its records and the written table."""
    records = answer(exam_of(benchmark(media)), folder, ALONE, 0.0)
    merge(folder, records)
    write_report(build_report("t", {"model": records}, benchmark(media), []), folder, benchmark(media).shown)
    return (folder / "records.jsonl").read_bytes(), (folder / "report.json").read_bytes()


def start(media, folder, shard):
    command = [sys.executable, "-m", "tests.benchmarks.killed", str(media), str(folder), shard, "0.05"]
    return subprocess.Popen(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"})


def written(folder):
    return sum(path.read_bytes().count(b"\n") for path in record_files(folder))


@pytest.mark.parametrize("seed", [0, 1])
def test_killed_workers_lose_nothing_that_was_written(media, straight, tmp_path, seed):
    rng = random.Random(seed)
    kept: dict[str, str] = {}
    for count in (2, 3):
        before = written(tmp_path)
        workers = [start(media, tmp_path, f"{index}/{count}") for index in range(count)]
        until = time.monotonic() + 60
        while written(tmp_path) < before + 4 and time.monotonic() < until:
            time.sleep(0.005)
        time.sleep(rng.random() * 0.1)
        for worker in workers:
            worker.send_signal(signal.SIGKILL)
            worker.wait()
        lines = {json.loads(x)["sample_id"]: x for p in record_files(tmp_path) for x in p.read_text().split("\n")[:-1]}
        assert len(lines) >= before + 4 and kept.items() <= lines.items()
        kept = lines
    assert 8 <= len(kept) < N_VIDEOS * N_EACH
    assert table(media, tmp_path) == straight


@pytest.mark.parametrize("count", [2, 7])
def test_workers_give_the_table_of_one(media, straight, tmp_path, count):
    for index in range(count):
        answer(exam_of(benchmark(media)), tmp_path, Shard(index, count), 0.0)
    assert table(media, tmp_path) == straight


def test_cut_anywhere_inside_the_last_line(media, straight, tmp_path):
    whole = straight[0]
    end = whole.index(b"\n", len(whole) // 2) + 1
    for cut in (end, end + 1, end + 40):
        folder = tmp_path / str(cut)
        folder.mkdir()
        (folder / "records-0-of-1.jsonl").write_bytes(whole[:cut])
        assert table(media, folder) == straight


def test_a_broken_video_is_a_wrong_answer_with_its_cause(media, straight, tmp_path):
    (tmp_path / "r.jsonl").write_bytes(straight[0])
    records = read_records(tmp_path / "r.jsonl")
    broken = [record for record in records if record.video.endswith("v3.mp4")]
    assert len(records) == N_VIDEOS * N_EACH and len(broken) == N_EACH
    assert all("not a readable video" in r.error and r.scores["tiou"] == 0.0 and r.text == "" for r in broken)
    assert all(r.frames and r.pixels and len(r.prompt_version) == len(r.parser_version) == 8 for r in records if r.text)
    summary = benchmark(media).summary(records)
    assert summary["mIoU"].n == N_VIDEOS * N_EACH and summary["coverage"].value == pytest.approx(0.8)


def test_a_video_is_decoded_once_for_all_its_questions(media, monkeypatch):
    decoded = []
    real = type(READER).read_video
    monkeypatch.setattr(type(READER), "read_video", lambda *a: decoded.append((a[1].name, a[4])) or real(*a))
    prepare = QuestionPreparer(READER, FAMILY)
    clips = {}
    for question in ALONE.pick(exam_of(benchmark(media)).questions):
        try:
            clip = prepare(question).clip
        except MediaError:
            continue
        assert clips.setdefault((question.video_path, question.span_s), clip) is clip
    assert len(decoded) == len(set(decoded)) == 2 * N_VIDEOS


def test_frames_go_where_the_text_says(media):
    question = next(q for q in benchmark(media).questions() if "v0" in str(q.video_path))
    prepare = QuestionPreparer(READER, FAMILY)
    behind = prepare(question)
    assert behind.parts[0] == "Frame 1 at 0.0s: " and behind.parts[-1] == question.text
    inside = prepare(replace(question, text=f"Before. {FRAMES}\nAfter."))
    assert inside.parts[0] == "Before. " and inside.parts[-1] == "\nAfter." and inside.parts[1:-1] == behind.parts[:-1]


def test_further_pictures_stand_behind_the_frames(media, tmp_path):
    Image.fromarray(np.full((40, 10, 3), 255, np.uint8)).save(tmp_path / "tall.png")
    question = next(q for q in benchmark(media).questions() if "v0" in str(q.video_path))
    plain = QuestionPreparer(READER, FAMILY)(question)
    prompt = QuestionPreparer(READER, FAMILY)(replace(question, image_paths=(tmp_path / "tall.png",)))
    index = len(plain.clip.frames)
    assert prompt.parts[-4:] == ("Picture 1: ", index, "\n", question.text)
    picture = prompt.clip.frames[index]
    assert picture.shape == plain.clip.frames[0].shape and picture[:, picture.shape[1] // 2].min() > 250
    assert picture[:, 0].max() == 0 and len(prompt.clip.times_s) == index
    with pytest.raises(MediaError):
        QuestionPreparer(READER, FAMILY)(replace(question, image_paths=(tmp_path / "none.png",)))
