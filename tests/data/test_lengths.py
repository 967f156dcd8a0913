"""Lengths from headers: near those of the encoded prompts, the same for every process, kept in a file."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from scipy.stats import spearmanr

from o3v.data import lengths as module
from o3v.data.lengths import estimate_tokens, padded_tokens, sample_lengths
from o3v.data.prepare import Preparer
from o3v.data.shapes_files import ShapesDataset
from o3v.errors import MediaError, StorageError
from o3v.models.family import FAMILIES
from o3v.video.header import read_image_header, read_video_header
from o3v.video.reader import ClipReader
from o3v.video.sampling import FrameSampling
from tests.data.worlds import FULL
from tests.video.clips import write_clip

FAMILY = FAMILIES["qwen2_5_vl"]
READER = ClipReader(FrameSampling(8, 2, 1.0, insert_key_frames=False), 3136, 12544, 12544, 512)
COUNTS = {"visual QA": 3, "temporal QA": 3, "temporal-spatial free-form QA": 3}


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    root = str(tmp_path_factory.mktemp("world"))
    return ShapesDataset(root, FULL, "train", "sft", COUNTS, 0, 0.0).samples()


def true_vision_tokens(row) -> int:
    clip = Preparer(READER, FAMILY)(row).clip
    return clip.frames.shape[0] * (clip.frames.shape[1] // 28) * (clip.frames.shape[2] // 28)


def test_estimates_rank_samples_as_their_prompts_do(rows):
    found = [estimate_tokens(row, READER, FAMILY.factor) for row in rows]
    assert spearmanr(found, [true_vision_tokens(row) for row in rows]).statistic > 0.8
    for row, estimate in zip(rows, found, strict=True):
        assert 0 < estimate - true_vision_tokens(row) < 250  # text and labels of frames


def test_longer_videos_and_shown_key_frames_count_more(tmp_path, rows):
    with_keys = replace(READER, sampling=FrameSampling(8, 2, 1.0, insert_key_frames=True))
    grounded = next(row for row in rows if row.key_frames)
    long = tmp_path / "long.mp4"
    write_clip(long, [n / 5 for n in range(60)])
    row = replace(grounded, video_path=long)
    plain, keys = (estimate_tokens(row, reader, 28) for reader in (READER, with_keys))
    frame = (keys - plain) / len(row.key_frames)
    assert frame == (plain - estimate_tokens(replace(row, video_path=None), READER, 28)) / 8
    assert estimate_tokens(row, replace(READER, max_total_tokens=1), 28) == pytest.approx(plain - 7 * frame)


def test_a_file_without_a_header_counts_as_text(tmp_path, rows):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"\0" * 100)
    for row in (replace(rows[0], image_path=broken), replace(rows[-1], video_path=broken)):
        text = len(row.question + row.answer + row.reasoning)
        assert estimate_tokens(row, READER, 28) == -(-text // 4)


def test_headers_tell_size_and_length(tmp_path, rows):
    clip = tmp_path / "clip.mp4"
    write_clip(clip, [n / 10 for n in range(30)])
    header = read_video_header(clip)
    assert header.size_px == (160, 96) and header.duration_s == pytest.approx(3.0, abs=0.2) and header.n_frames == 30
    assert read_image_header(rows[0].image_path).size_px == (84, 84)
    for read in (read_video_header, read_image_header):
        with pytest.raises(MediaError, match="gone"):
            read(Path("/nowhere/gone.mp4"))
    sound = tmp_path / "empty.mp4"
    sound.write_bytes(b"")
    with pytest.raises(MediaError):
        read_video_header(sound)


def test_lengths_are_estimated_once_and_read_by_all(tmp_path, rows, monkeypatch):
    calls = []

    def counted(row, reader, factor, right=estimate_tokens):
        calls.append(row.id)
        return right(row, reader, factor)

    monkeypatch.setattr(module, "estimate_tokens", counted)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: sample_lengths(str(tmp_path), rows, READER, 28), range(4)))
    assert sorted(calls) == sorted(row.id for row in rows)
    assert all(one == found[0] for one in found)
    assert sample_lengths(str(tmp_path), rows[::-1], READER, 28) == found[0][::-1] and len(calls) == len(rows)
    sample_lengths(str(tmp_path), rows, replace(READER, max_total_tokens=64), 28)
    assert len(list(tmp_path.glob("*.json"))) == 2  # other settings, other numbers
    assert all(set(json.loads(path.read_text())) == {row.id for row in rows} for path in tmp_path.glob("*.json"))


def test_a_folder_that_cannot_be_written_is_named(tmp_path, rows):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="lengths of samples cannot be written"):
        sample_lengths(str(tmp_path / "file"), rows, READER, 28)


def test_padded_tokens():
    assert padded_tokens([[3, 5, 1], [], [7]]) == 22
