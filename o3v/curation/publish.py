"""Curated candidates as files in the official STGR layout: rows for SFT and RL, videos and stills beside them."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from o3v.curation.items import Candidate, Notes, Outcome
from o3v.curation.sources import inside
from o3v.data.rows import RowError, media_folder
from o3v.data.stgr import read_stgr
from o3v.errors import ConfigError, DataError, MediaError
from o3v.tracking.run import storage, write_atomically
from o3v.types import Task

STAGE = "write"
FILES = {"sft": "STGR-SFT.json", "rl": "STGR-RL.json"}
PLACINGS = ("link", "copy")
_STILL_QUALITY = 92

FramesOf = Callable[[Candidate, Sequence[float]], Mapping[float, np.ndarray]]
"""The frames of a candidate's video at some times; raises MediaError."""


@dataclass(frozen=True)
class Publisher:
    """The last stage.

    Attributes:
        root: data root that is made: `json_data`, `videos`.
        media_root: folder below which the sources' videos lie.
        videos: `link` (hard link; a copy where that cannot be) or `copy`.
        stills: write a JPEG of each key frame, as the published data have.
    """

    root: Path
    media_root: Path
    videos: str
    stills: bool

    def __post_init__(self) -> None:
        """Reject unknown names."""
        if self.videos not in PLACINGS:
            raise ConfigError(f"publish.videos={self.videos!r} is not allowed; allowed are {list(PLACINGS)}")

    def outcome(self, candidate: Candidate, frames_of: FramesOf) -> Outcome:
        """Place the media of one candidate."""
        notes = Notes(candidate.id, STAGE)
        path = inside(self.media_root, candidate.video)
        source = published_source(candidate.source)
        if path is None:
            return notes.dropped("media", detail="no file below the media root")
        target = self.root / media_folder(source, is_image=False) / published_video(candidate)
        _place(path, target, self.videos)
        if not self.stills:
            return notes.kept(candidate)
        try:
            frames = frames_of(candidate, [frame.time_s for frame in candidate.key_frames])
        except MediaError as error:
            return notes.dropped("media", detail=error.reason)
        for name, frame in zip(still_names(candidate), candidate.key_frames, strict=True):
            _save_still(self.root / media_folder(source, is_image=True) / name, frames[frame.time_s])
        return notes.kept(candidate)

    def write(self, candidates: Sequence[Candidate]) -> dict[str, Path]:
        """Write both files and read them back; without a candidate there are none.

        Raises:
            DataError: a row that was written does not validate, which is an error of this module.
            StorageError: the folder cannot be written.
        """
        written = {}
        for flavour, name in FILES.items():
            path = self.root / "json_data" / name
            if not candidates:
                path.unlink(missing_ok=True)
                continue
            rows = [published_row(candidate, flavour, self.stills) for candidate in candidates]
            write_atomically(path, json.dumps(rows, indent=1) + "\n")
            faults = read_stgr(path, self.root).faults
            if faults:
                raise DataError(f"{path}: {len(faults)} rows do not validate, the first: {faults[0]}")
            written[flavour] = path
        return written


def published_source(source: str) -> str:
    """A source's name in the files: one of the spatio-temporal sources, whose folders hold videos and stills.

    >>> published_source("STR_plm_rdcap"), published_source("TVG_tacos"), published_source("my clips")
    ('STR_plm_rdcap', 'STR_tacos', 'STR_my_clips')
    """
    try:
        media_folder(source, is_image=True)
        if source.startswith(("STR_", "videoespresso")):
            return source
    except RowError:
        pass
    return f"STR_{re.sub(r'[^A-Za-z0-9_.-]+', '_', source.removeprefix('TVG_'))}"


def published_video(candidate: Candidate) -> str:
    """Place of a candidate's video below its source's folder: the same video has the same place.

    >>> published_video(Candidate("a", "s", "t", "a b/c.mp4", "", "", "", None, 0.0, "", ()))
    'a b/c.mp4'
    """
    try:
        folder = media_folder(candidate.source, is_image=False).as_posix()
    except RowError:
        return candidate.video
    return candidate.video.removeprefix(f"{folder}/")


def still_names(candidate: Candidate) -> list[str]:
    """Places of the stills of a candidate's key frames, by the frame's time, so that rows of one video share them."""
    stem = PurePosixPath(published_video(candidate)).with_suffix("")
    return [f"{stem}_{round(frame.time_s * 1000):08d}.jpg" for frame in candidate.key_frames]


def published_row(candidate: Candidate, flavour: str, stills: bool) -> dict[str, Any]:
    """A candidate as a row of the official layout; RL rows have no reasoning."""
    names = still_names(candidate) if stills else [""] * len(candidate.key_frames)
    numbered = list(enumerate(zip(candidate.key_frames, names, strict=True), start=1))
    return {
        "id": candidate.id,
        "source": published_source(candidate.source),
        "task": str(Task.TEMPORAL_SPATIAL),
        "question": candidate.question,
        "answer": candidate.answer,
        "reasoning_process": candidate.reasoning if flavour == "sft" else "",
        "video_path": published_video(candidate),
        "image_path": "",
        "image_size": [],
        "key_frames": [{"idx": n, "time": frame.time_s, "path": name} for n, (frame, name) in numbered],
        "key_items": {
            str(n): {name: [list(box) for box in boxes] for name, boxes in frame.boxes.items()}
            for n, (frame, _) in numbered
        },
    }


def _place(source: Path, target: Path, how: str) -> None:
    """The video at its new place; one that is there already with the same size stays."""
    with storage(target):
        if target.is_file() and target.stat().st_size == source.stat().st_size:
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        aside.unlink(missing_ok=True)
        try:
            if how == "link":
                os.link(source, aside)
            else:
                shutil.copyfile(source, aside)
        except OSError:
            if how == "copy":
                raise
            shutil.copyfile(source, aside)  # another file system, or one without links
        os.replace(aside, target)


def _save_still(path: Path, frame: np.ndarray) -> None:
    with storage(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        Image.fromarray(np.ascontiguousarray(frame)).save(aside, "JPEG", quality=_STILL_QUALITY)
        os.replace(aside, path)
