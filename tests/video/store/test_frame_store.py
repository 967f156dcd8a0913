"""Each clip is decoded once in all, equal to a fresh one, whatever happens to processes, files and disks."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from o3v.errors import ConfigError, MediaError, StorageError
from o3v.types import Clip
from o3v.video.reader import ClipReader
from o3v.video.store import frame_store
from tests.video.clips import even_times, write_clip
from tests.video.store.stores import READER, clip, digest, equal, reader, store


@pytest.fixture
def videos(tmp_path: Path) -> list[Path]:
    made = [write_clip(tmp_path / f"{n}.mp4", even_times(30 + n)) for n in range(3)]
    for path in made:
        os.utime(path, (1000, 1000))
    return made


@pytest.fixture
def decodes(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Files that are decoded in this process."""
    files: list[Path] = []
    plain = ClipReader.read_video
    monkeypatch.setattr(ClipReader, "read_video", lambda s, *a: files.append(a[0]) or plain(s, *a))
    return files


def totals(through) -> dict[str, float]:
    return dict(through.store.counts.totals())


def test_a_stored_clip_equals_a_fresh_one(tmp_path: Path, videos: list[Path], decodes: list[Path]):
    fresh = READER.read_video(videos[0], (0.3,), 28, None)
    decodes.clear()
    for read in ("map", "copy"):
        first, again = (reader(tmp_path / "s", read=read).read_video(videos[0], (0.3,), 28, None) for _ in range(2))
        assert equal(first, fresh) and equal(again, fresh)
    assert decodes == [videos[0]]


def test_counts_add_up(tmp_path: Path, videos: list[Path]):
    through = reader(tmp_path / "s")
    for path in (*videos, *videos):
        through.read_video(path, (), 28, None)
    seen = totals(through)
    assert (seen["misses"], seen["hits"], seen["waits"]) == (3, 3, 0)
    assert seen["bytes_read"] == seen["bytes_written"] > 0 and seen["decode_s"] > 0
    assert through.store.metrics()["store/hits"] == 3


def test_everything_that_changes_a_clip_names_another(tmp_path: Path, videos: list[Path], decodes: list[Path]):
    through = reader(tmp_path / "s")
    path = videos[0]

    def other(**changes: object):
        return replace(through, reader=replace(READER, **changes))

    through.read_video(path, (), 28, None)
    through.read_video(path, (0.3,), 28, None)
    through.read_video(path, (), 32, None)
    through.read_video(path, (), 28, (0.0, 0.5))
    other(max_pixels=56 * 56).read_video(path, (), 28, None)
    other(min_pixels=29 * 29).read_video(path, (), 28, None)
    other(max_total_tokens=40).read_video(path, (), 28, None)
    other(sampling=replace(READER.sampling, max_frames=6)).read_video(path, (), 28, None)
    assert len(decodes) == totals(through)["misses"] == 8
    other(image_max_pixels=200 * 28 * 28).read_video(path, (), 28, None)
    quiet = other(sampling=replace(READER.sampling, insert_key_frames=False))
    quiet.read_video(path, (0.3,), 28, None)
    quiet.read_video(path, (0.4,), 28, None)  # key times are not shown, so they do not count
    assert len(decodes) == 9


def test_another_version_decodes_anew(
    tmp_path: Path, videos: list[Path], decodes: list[Path], monkeypatch: pytest.MonkeyPatch
):
    reader(tmp_path / "s").read_video(videos[0], (), 28, None)
    monkeypatch.setattr("o3v.video.stored.versions", lambda module: {"av": "0"})
    reader(tmp_path / "s").read_video(videos[0], (), 28, None)
    assert len(decodes) == 2


def test_a_changed_file_is_decoded_anew(tmp_path: Path, videos: list[Path], decodes: list[Path]):
    through = reader(tmp_path / "s")
    through.read_video(videos[0], (), 28, None)
    os.replace(videos[1], videos[0])
    assert equal(through.read_video(videos[0], (), 28, None), READER.read_video(videos[0], (), 28, None))
    assert totals(through)["misses"] == 2


def test_a_file_that_changes_while_it_is_decoded_is_not_kept(tmp_path: Path, videos: list[Path]):
    kept = store(tmp_path / "s")

    def decode() -> Clip:
        os.utime(videos[0], (2000, 2000))
        return clip()

    kept.clip(videos[0], {}, decode)
    assert kept.counts.totals()["bytes_written"] == 0


def test_a_sampling_that_cannot_be_named_is_refused(tmp_path: Path, videos: list[Path]):
    class Odd:
        insert_key_frames = False

    through = replace(reader(tmp_path / "s"), reader=replace(READER, sampling=Odd()))
    with pytest.raises(ConfigError, match="a Odd cannot name a stored clip"):
        through.read_video(videos[0], (), 28, None)


def damage(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    if how == "cut":
        data = data[: len(data) // 2]
    elif how == "flipped":
        data[len(data) // 2] ^= 4
    elif how == "empty":
        data = bytearray()
    path.write_bytes(data)


@pytest.mark.parametrize("how", ["cut", "flipped", "empty"])
@pytest.mark.parametrize("read", ["map", "copy"])
def test_a_damaged_entry_is_decoded_again_and_mended(tmp_path: Path, videos: list[Path], how: str, read: str):
    fresh = reader(tmp_path / "s").read_video(videos[0], (), 28, None)
    (entry,) = (tmp_path / "s").rglob("*.clip")
    damage(entry, how)
    through = reader(tmp_path / "s", read=read)
    assert equal(through.read_video(videos[0], (), 28, None), fresh)
    assert equal(through.read_video(videos[0], (), 28, None), fresh)
    assert [totals(through)[name] for name in ("damaged", "misses", "hits")] == [1, 1, 1]


def test_errors_are_raised_every_time_and_nothing_is_kept(tmp_path: Path):
    (tmp_path / "text.mp4").write_text("no video")
    through = reader(tmp_path / "s")
    for _ in range(2):
        with pytest.raises(MediaError, match="not a"):
            through.read_video(tmp_path / "text.mp4", (), 28, None)
    with pytest.raises(MediaError, match="file is missing"):
        through.read_video(tmp_path / "none.mp4", (), 28, None)
    assert [p for p in (tmp_path / "s" / "clips").rglob("*") if p.is_file()] == []


def test_processes_that_meet_decode_each_clip_once(tmp_path: Path, videos: list[Path]):
    command = [sys.executable, "-m", "tests.video.store.stores", str(tmp_path / "s"), *map(str, videos * 2)]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    lines = [run.communicate(timeout=120)[0].split() for run in runs]
    assert sum(int(misses) for misses, _, _ in lines) == 3
    assert sum(int(hits) for _, hits, _ in lines) == 4 * 6 - 3
    assert len({whole for _, _, whole in lines}) == 1
    assert not list((tmp_path / "s").rglob("*.claim")) and not list((tmp_path / "s").rglob("*.tmp"))


def test_threads_that_meet_decode_once(tmp_path: Path, videos: list[Path], decodes: list[Path]):
    through, seen = reader(tmp_path / "s"), []
    threads = [
        threading.Thread(target=lambda: seen.append(digest(through.read_video(videos[0], (), 28, None))))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 6 and len(set(seen)) == 1 and len(decodes) == 1


def test_without_claims_clips_would_be_decoded_twice(
    tmp_path: Path, videos: list[Path], decodes: list[Path], monkeypatch: pytest.MonkeyPatch
):
    """Proves that the tests above see a store whose processes do not wait for each other."""
    monkeypatch.setattr(frame_store.FrameStore, "_claimed", lambda *_: None)
    barrier, plain = threading.Barrier(2), READER.read_video
    kept = store(tmp_path / "s")

    def decode() -> Clip:
        barrier.wait(20)
        return plain(videos[0], (), 28, None)

    threads = [threading.Thread(target=lambda: kept.clip(videos[0], {}, decode)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kept.counts.totals()["misses"] == 2


def test_a_process_that_dies_while_decoding_is_taken_over(tmp_path: Path, videos: list[Path]):
    code = (
        "import os, sys; from pathlib import Path; from tests.video.store.stores import store\n"
        "store(Path(sys.argv[1])).clip(Path(sys.argv[2]), {}, lambda: os._exit(9))"
    )
    dead = subprocess.run([sys.executable, "-c", code, str(tmp_path / "s"), str(videos[0])], timeout=60, check=False)
    assert dead.returncode == 9 and list((tmp_path / "s").rglob("*.claim"))
    kept = store(tmp_path / "s", claim={"expiry_s": 9999.0, "wait_s": 9999.0})
    assert equal(kept.clip(videos[0], {}, clip), clip())
    assert kept.counts.totals()["bytes_written"] > 0 and not list((tmp_path / "s").rglob("*.claim"))


def test_a_process_that_dies_while_writing_leaves_no_entry(tmp_path: Path, videos: list[Path]):
    code = (
        "import os, sys; from pathlib import Path; from tests.video.store.stores import clip, store\n"
        "import o3v.video.store.entry as entry; entry.os.fsync = lambda handle: os._exit(9)\n"
        "store(Path(sys.argv[1])).clip(Path(sys.argv[2]), {}, clip)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "s"), str(videos[0])], timeout=60, check=False)
    assert list((tmp_path / "s").rglob("*.tmp")) and not list((tmp_path / "s").rglob("*.clip"))
    kept = store(tmp_path / "s")
    kept.clip(videos[0], {}, clip)
    assert kept.counts.totals()["misses"] == 1


def test_who_has_waited_long_enough_decodes(tmp_path: Path, videos: list[Path]):
    first, second = store(tmp_path / "s"), store(tmp_path / "s", claim={"expiry_s": 99.0, "wait_s": 0.2})
    release, started = threading.Event(), threading.Event()

    def hangs() -> Clip:
        started.set()
        release.wait(30)
        return clip()

    thread = threading.Thread(target=lambda: first.clip(videos[0], {}, hangs))
    thread.start()
    started.wait(30)
    assert equal(second.clip(videos[0], {}, clip), clip())
    release.set()
    thread.join()
    assert second.counts.totals()["misses"] == 1


def test_a_disk_that_takes_nothing_does_not_stop_the_run(
    tmp_path: Path, videos: list[Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    kept = store(tmp_path / "s")
    monkeypatch.setattr(frame_store, "write_entry", full)
    for _ in range(3):
        assert equal(kept.clip(videos[0], {}, clip), clip())
    assert kept.counts.totals()["write_errors"] == 3 and caplog.text.count("cannot be kept") == 1
    monkeypatch.setattr("o3v.video.store.claims.os.open", full)
    assert equal(kept.clip(videos[0], {}, clip), clip())


def test_the_limit_holds_for_many_clips(tmp_path: Path, videos: list[Path]):
    size = clip().frames.nbytes
    kept = store(tmp_path / "s", limit_gb=4.5 * size / 1e9)
    for number in range(12):
        kept.clip(videos[0], {"n": number}, lambda number=number: clip(number))
        assert sum(file.stat().st_size for file in (tmp_path / "s" / "clips").rglob("*.clip")) < 5 * size
    seen = kept.counts.totals()
    assert seen["evictions"] >= 8 and seen["bytes_evicted"] >= 8 * size
    assert equal(kept.clip(videos[0], {"n": 11}, lambda: clip(0)), clip(11))


def test_use_is_noted_seldom(tmp_path: Path, videos: list[Path]):
    seldom, often = store(tmp_path / "s", touch_s=3600.0), store(tmp_path / "s", touch_s=0.0)
    seldom.clip(videos[0], {}, clip)
    (entry,) = (tmp_path / "s").rglob("*.clip")
    os.utime(entry, (entry.stat().st_mtime - 60,) * 2)
    before = entry.stat().st_mtime_ns
    seldom.clip(videos[0], {}, clip)
    assert entry.stat().st_mtime_ns == before
    often.clip(videos[0], {}, clip)
    assert entry.stat().st_mtime_ns > before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"read": "mmap"}, r"store\.read=mmap: allowed are map, copy"),
        ({"key": "name"}, r"store\.key=name"),
        ({"limit_gb": 0}, r"store\.limit_gb=0"),
        ({"claim": {"expiry_s": 1.0}}, r"wanted expiry_s and wait_s"),
        ({"claim": {"expiry_s": 0.0, "wait_s": 1.0}}, r"store\.claim\.expiry_s=0"),
    ],
)
def test_settings_that_are_refused(tmp_path: Path, changes: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        store(tmp_path, **changes)


def test_a_place_that_cannot_be_is_told_before_anything_runs(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="is not a folder"):
        store(tmp_path / "file" / "s")


def test_a_copy_in_another_process_counts_together(tmp_path: Path, videos: list[Path]):
    kept = store(tmp_path / "s")
    child = os.fork()
    if child == 0:
        kept.clip(videos[0], {}, clip)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    copied = pickle.loads(pickle.dumps(kept))
    assert np.array_equal(copied.clip(videos[0], {}, clip).frames, clip().frames)
    seen = kept.counts.totals()
    assert (seen["misses"], seen["hits"]) == (1, 1)
