"""How long samples are for a model, estimated from the headers of their media and their text, nothing decoded."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

from o3v.data.difficulty import read_numbers
from o3v.errors import MediaError, StorageError
from o3v.types import Sample
from o3v.video.geometry import ResizePlan, is_too_thin
from o3v.video.header import Header, read_image_header, read_video_header
from o3v.video.reader import ClipReader

log = logging.getLogger(__name__)

LETTERS_A_TOKEN = 4
FRAME_LABEL_TOKENS = 12
"""What is written around a frame: its number, its time, start and end of vision."""

_THREADS = 8


def estimate_tokens(sample: Sample, reader: ClipReader, factor: int) -> int:
    """Tokens of a sample's prompt and target, from the resize plan and the sampling rule.

    Key frames count on top of the even spread, also where both fall on one frame. A file whose header cannot be read
    counts as its text alone; what is wrong with it is told when it is decoded.

    Args:
        sample: names the media.
        reader: how it will be read.
        factor: pixels of a vision token's side.
    """
    text = math.ceil((len(sample.question) + len(sample.answer) + len(sample.reasoning)) / LETTERS_A_TOKEN)
    try:
        if sample.video_path is not None:
            return text + video_tokens(_video_header(sample.video_path), len(sample.key_frames), reader, factor)
        if sample.image_path is not None:
            return text + image_tokens(_image_header(sample.image_path), reader, factor)
    except MediaError:
        log.debug("%s: no header, counted as text", sample.id)
    return text


def video_tokens(header: Header, n_key_frames: int, reader: ClipReader, factor: int) -> int:
    """Tokens of a video's frames with their labels; arguments as in `estimate_tokens`."""
    frame = _frame_tokens(header, ResizePlan(factor, reader.min_pixels, reader.max_pixels))
    spread = reader.sampling.n_frames(header.duration_s)
    in_file = header.n_frames or spread
    keys = n_key_frames if reader.sampling.insert_key_frames else 0
    shown = min(spread + keys, in_file, max(reader.max_total_tokens // frame, 1))
    return shown * (frame + FRAME_LABEL_TOKENS)


def image_tokens(header: Header, reader: ClipReader, factor: int) -> int:
    """Tokens of a still image; arguments as in `estimate_tokens`."""
    return _frame_tokens(header, ResizePlan(factor, reader.min_pixels, reader.image_max_pixels))


def sample_lengths(folder: str, samples: Sequence[Sample], reader: ClipReader, factor: int) -> list[int]:
    """Estimates of all samples, made once and kept in a file, so that all processes of a run read the same numbers.

    Args:
        folder: where the file stands; its name tells the samples and the settings of the reader.
        samples: of the data set.
        reader: how they will be read.
        factor: pixels of a vision token's side.

    Raises:
        StorageError: the folder cannot be written.
    """
    path = Path(folder) / f"{_signature(samples, reader, factor)}.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with (path.parent / ".lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            if not path.exists():
                _write(path, samples, reader, factor)
    except OSError as error:
        raise StorageError(f"{path}: lengths of samples cannot be written ({error.strerror or error})") from error
    by_id = read_numbers(path, 0.0, math.inf)
    return [int(by_id[sample.id]) for sample in samples]


def padded_tokens(batches: Sequence[Sequence[int]]) -> int:
    """Tokens that batches take when each is padded to its longest.

    >>> padded_tokens([[3, 5], [2]])
    12
    """
    return sum(max(batch) * len(batch) for batch in batches if batch)


def _write(path: Path, samples: Sequence[Sample], reader: ClipReader, factor: int) -> None:
    log.info("estimating the lengths of %d samples from the headers of their media", len(samples))
    with ThreadPoolExecutor(_THREADS) as pool:
        lengths = pool.map(lambda sample: estimate_tokens(sample, reader, factor), samples)
        by_id = {sample.id: length for sample, length in zip(samples, lengths, strict=True)}
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(json.dumps(by_id))
    aside.replace(path)


def _signature(samples: Sequence[Sample], reader: ClipReader, factor: int) -> str:
    """Names what the estimates depend on, the content of the media left out: they are estimates."""
    digest = hashlib.sha256(repr((reader, factor)).encode())
    for sample in sorted(samples, key=lambda s: s.id):
        digest.update(repr((sample.id, str(sample.video_path or sample.image_path))).encode())
    return digest.hexdigest()[:16]


def _frame_tokens(header: Header, plan: ResizePlan) -> int:
    width, height = header.size_px
    return 1 if is_too_thin(height, width) else plan.tokens(*plan.smart_resize(height, width))


@lru_cache(maxsize=65536)
def _video_header(path: Path) -> Header:
    return read_video_header(path)


@lru_cache(maxsize=65536)
def _image_header(path: Path) -> Header:
    return read_image_header(path)
