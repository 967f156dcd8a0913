"""One holder a claim; a dead or silent one loses it, a slow one that shows signs does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from o3v.video.store.claims import Claims, born, holder_is_dead, place

CLAIMS = Claims(expiry_s=0.2, longest_s=60)


def test_one_of_many_gets_it(tmp_path: Path):
    taken, barrier = [], threading.Barrier(8)

    def grab() -> None:
        barrier.wait()
        taken.append(CLAIMS.take(tmp_path / "a.claim"))

    threads = [threading.Thread(target=grab) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (mine,) = [claim for claim in taken if claim is not None]
    mine.release()
    assert list(tmp_path.iterdir()) == [] and CLAIMS.take(tmp_path / "a.claim") is not None


def test_a_dead_holder_is_known_at_once(tmp_path: Path):
    code = (
        "import sys; from pathlib import Path; from o3v.video.store.claims import Claims\n"
        "Claims(99, 99).take(Path(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.claim")], check=True, timeout=60)
    watch = Claims(9999, 9999).watch(tmp_path / "a.claim")
    assert watch.lapsed()
    watch.clear()
    assert list(tmp_path.iterdir()) == []


def test_a_number_given_out_again_is_another_process(tmp_path: Path):
    path = tmp_path / "a.claim"
    path.write_text(json.dumps({"place": place(), "pid": os.getpid(), "born": born(os.getpid())}))
    assert not holder_is_dead(path)
    path.write_text(json.dumps({"place": place(), "pid": os.getpid(), "born": "1"}))
    assert holder_is_dead(path)
    path.write_text(json.dumps({"place": "elsewhere", "pid": os.getpid(), "born": "1"}))
    assert not holder_is_dead(path)
    for text in ("", "[]", "{}", "no json"):  # a claim in the moment of its making
        path.write_text(text)
        assert not holder_is_dead(path)


def test_silence_is_measured_by_the_watchers_own_clock(tmp_path: Path):
    path = tmp_path / "a.claim"
    path.write_text(json.dumps({"place": "another machine", "pid": 1, "born": "1"}))
    os.utime(path, (1, 1))  # its clock stands in 1970
    now = [0.0]
    watch = Claims(10, 99).watch(path)
    watch.clock_s = lambda: now[0]
    assert not watch.lapsed()
    now[0] = 9.0
    assert not watch.lapsed()
    os.utime(path, (2, 2))  # a sign of life
    now[0] = 18.0
    assert not watch.lapsed()
    now[0] = 29.0
    assert watch.lapsed()


def test_a_slow_holder_shows_signs(tmp_path: Path):
    claim = CLAIMS.take(tmp_path / "a.claim")
    assert claim is not None
    with claim.held():
        before = os.stat(claim.path).st_mtime_ns
        time.sleep(0.3)
        assert os.stat(claim.path).st_mtime_ns > before
    assert not claim.path.exists()


def test_who_was_quicker_keeps_the_claim(tmp_path: Path):
    path = tmp_path / "a.claim"
    path.write_text("old")
    watch = CLAIMS.watch(path)
    watch.lapsed()
    (tmp_path / "new").write_text("fresh")
    os.replace(tmp_path / "new", path)  # another process took it over meanwhile
    watch.clear()
    assert path.read_text() == "fresh" and [file.name for file in tmp_path.iterdir()] == ["a.claim"]


def test_who_lost_a_claim_does_not_give_back_anothers(tmp_path: Path):
    claim = CLAIMS.take(tmp_path / "a.claim")
    assert claim is not None
    (tmp_path / "new").write_text("fresh")
    os.replace(tmp_path / "new", claim.path)
    claim.release()
    assert claim.path.read_text() == "fresh"
