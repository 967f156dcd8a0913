"""A store with small numbers, a clip to keep in it, and a process that decodes through it."""

from __future__ import annotations

import hashlib
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from o3v.types import Clip
from o3v.video.reader import ClipReader
from o3v.video.sampling import FrameSampling
from o3v.video.store import FrameStore
from o3v.video.stored import StoredReader

READER = ClipReader(FrameSampling(8, 4, 2.0, True), 28 * 28, 128 * 28 * 28, 256 * 28 * 28, 4096)
SETTINGS: dict[str, Any] = {
    "key": "content",
    "read": "map",
    "limit_gb": 1.0,
    "keep_free_gb": 0.0,
    "keep_used_h": 0.0,
    "touch_s": 0.0,
    "claim": {"expiry_s": 30.0, "wait_s": 60.0},
}


def store(root: Path, **changes: Any) -> FrameStore:
    return FrameStore(root=root, **(SETTINGS | changes))


def reader(root: Path, **changes: Any) -> StoredReader:
    return StoredReader(READER, store(root, **changes))


def clip(seed: int = 0, n_frames: int = 3, side_px: int = 28) -> Clip:
    frames = np.random.default_rng(seed).integers(0, 256, (n_frames, side_px, side_px, 3), dtype=np.uint8)
    return Clip(frames, tuple(0.1 + n / 3 for n in range(n_frames)), n_frames / 3, (640, 360))


def equal(a: Clip, b: Clip) -> bool:
    return np.array_equal(a.frames, b.frames) and (a.times_s, a.duration_s, a.original_size_px, a.frames.dtype) == (
        b.times_s,
        b.duration_s,
        b.original_size_px,
        b.frames.dtype,
    )


def digest(clip: Clip) -> str:
    return hashlib.sha256(clip.frames.tobytes() + repr((clip.times_s, clip.duration_s)).encode()).hexdigest()


class SlowReader(ClipReader):
    """Takes its time, so that processes meet at one clip."""

    def read_video(self, *arguments: Any) -> Clip:
        time.sleep(0.1)
        return super().read_video(*arguments)


def main() -> None:
    """A process: ROOT FILE...; prints its decodes and a hash of what it read."""
    slow = SlowReader(READER.sampling, 28 * 28, 128 * 28 * 28, 256 * 28 * 28, 4096)
    through = StoredReader(slow, store(Path(sys.argv[1])))
    whole = hashlib.sha256()
    for file in sys.argv[2:]:
        whole.update(digest(through.read_video(Path(file), (), 28, None)).encode())
    totals = through.store.counts.totals()
    print(int(totals["misses"]), int(totals["hits"]), whole.hexdigest())


if __name__ == "__main__":
    main()
