"""`python -m o3v.bench video`: films made, readers compared, the store measured."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from o3v.cli import command

log = logging.getLogger(__name__)

STORE_FACTOR = 4
"""Divides the sides of 360p, so that frames keep their size and decoding has no resizing to do."""


@command(config_name="bench_video")
def video(cfg: DictConfig) -> float | None:
    """What sampling frames of a film costs, beside other libraries and a warm store; returns nothing."""
    from o3v.measure.video_report import show, write

    result = measure_video(cfg)
    command_line = ["python", "-m", "o3v.bench", "video", *sys.argv[1:]]
    log.info("%s", write(result, Path(cfg.out), command_line, cfg.readers))
    show(result)
    return None


def measure_video(cfg: DictConfig) -> dict[str, Any]:
    """Figures of every film and number of frames, and of a warm store; readers that are not installed are named."""
    from o3v.measure.video import compare, load, summary
    from o3v.measure.video_films import Film, make_film
    from o3v.measure.video_rivals import present

    readers, missing = present(list(cfg.readers))
    cases: dict[str, Any] = {}
    for length_s in cfg.lengths_s:
        segment_s = min(cfg.segment_s, length_s)
        film = Film(length_s, (cfg.size_px[0], cfg.size_px[1]), cfg.fps, cfg.gop, segment_s)
        path = make_film(film, Path(cfg.films))
        for n_frames in cfg.frames:
            log.info("%s, %d frames", path.name, n_frames)
            runs = compare(readers, film, path, n_frames, cfg.repeats, cfg.budget_s)
            case = {"length_s": length_s, "frames": n_frames, "film": film.name, "bytes": path.stat().st_size}
            cases[f"{length_s}s-{n_frames}"] = {**case, "load": load(), "readers": summary(runs)}
    return {"cases": cases, "missing": missing, "store": _store(cfg) if cfg.store_repeats else None}


def _store(cfg: DictConfig) -> dict[str, Any]:
    """16 frames of a ten-second film in its own size, decoded and from a warm store."""
    from o3v.config import build
    from o3v.measure.video import load, store_gain
    from o3v.measure.video_films import Film, make_film
    from o3v.video.reader import ClipReader
    from o3v.video.sampling import FrameSampling
    from o3v.video.stored import StoredReader

    width, height = cfg.store_size_px
    path = make_film(Film(10, (width, height), cfg.fps, cfg.gop, 10), Path(cfg.films))
    reader = ClipReader(FrameSampling(16, 16, 2.0, False), 4, width * height, width * height, 10**9)
    stored = StoredReader(reader, build(cfg, "store"))
    clip = stored.read_video(path, (), STORE_FACTOR, None)
    gain = store_gain(
        lambda: reader.read_video(path, (), STORE_FACTOR, None).frames,
        lambda: stored.read_video(path, (), STORE_FACTOR, None).frames,
        cfg.store_repeats,
    )
    return {"frames": len(clip.frames), "size_px": list(clip.size_px), "length_s": 10, "load": load(), **gain}
