"""A reader with a store behind it: a clip is decoded when nobody has done so before."""

from __future__ import annotations

import hashlib
import inspect
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import av
import PIL

import o3v.video.decode
import o3v.video.geometry
import o3v.video.index
import o3v.video.reader
import o3v.video.sampling
from o3v.errors import ConfigError
from o3v.types import Clip, Sample, Span
from o3v.video.reader import ClipReader, read_sample
from o3v.video.store.frame_store import FrameStore

SOURCES: Final = (o3v.video.decode, o3v.video.index, o3v.video.sampling, o3v.video.geometry, o3v.video.reader)
"""Modules whose text decides what a clip holds."""


@dataclass(frozen=True)
class StoredReader:
    """Reads as its `reader` does, bit for bit; videos through the store, still images past it.

    Attributes:
        reader: decodes and resizes.
        store: keeps.
    """

    reader: ClipReader
    store: FrameStore

    def read(self, sample: Sample, factor: int) -> Clip:
        """As `ClipReader.read`."""
        return read_sample(self, sample, factor)

    def read_image(self, path: Path, factor: int) -> Clip:
        """As `ClipReader.read_image`."""
        return self.reader.read_image(path, factor)

    def read_video(self, path: Path, key_times_s: tuple[float, ...], factor: int, part_s: Span | None) -> Clip:
        """As `ClipReader.read_video`; frames may be read-only."""
        what = clip_identity(self.reader, key_times_s, factor, part_s)
        return self.store.clip(path, what, lambda: self.reader.read_video(path, key_times_s, factor, part_s))


def clip_identity(
    reader: ClipReader, key_times_s: tuple[float, ...], factor: int, part_s: Span | None
) -> dict[str, Any]:
    """Everything but the file on which a clip depends, as values of JSON.

    Key times count only where the sampling shows them, in no order; the image's limit of pixels does not count.
    """
    keys_s = sorted(set(key_times_s)) if reader.sampling.insert_key_frames else []
    return {
        "reader": {name: value for name, value in described(reader).items() if name != "image_max_pixels"},
        "key_times_s": [float(key_s) for key_s in keys_s],
        "factor": factor,
        "part_s": None if part_s is None else [float(end_s) for end_s in part_s],
        "versions": dict(versions(type(reader.sampling).__module__)),
    }


def described(value: Any) -> Any:
    """A frozen dataclass of numbers, strings and further such dataclasses as values of JSON.

    Raises:
        ConfigError: anything else, whose repr need not tell all that it is.

    >>> from o3v.video.sampling import FrameSampling
    >>> described(FrameSampling(8, 2, 1.0, False))["max_frames"]
    8
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        named = {field.name: described(getattr(value, field.name)) for field in fields(value) if field.compare}
        return {"class": f"{type(value).__module__}.{type(value).__qualname__}"} | named
    if isinstance(value, list | tuple):
        return [described(item) for item in value]
    raise ConfigError(
        f"data.reader: a {type(value).__name__} cannot name a stored clip; "
        "allowed are dataclasses of numbers and strings, or store=none"
    )


@cache
def versions(sampling_module: str) -> Mapping[str, str]:
    """What decodes: libraries, processor family (scalers round as it suits them), and this project's own source."""
    digest = hashlib.sha256()
    for file in sorted({str(inspect.getsourcefile(module)) for module in (*SOURCES, sys.modules[sampling_module])}):
        digest.update(Path(file).read_bytes())
    libraries = {name: ".".join(map(str, version)) for name, version in av.library_versions.items()}
    own = {"av": av.__version__, "pillow": PIL.__version__, "machine": platform.machine()}
    return libraries | own | {"o3v": digest.hexdigest()[:16]}
