"""One clip in one file: written aside and renamed, read by memory map, never taken for good when it is damaged.

A file is a header of 64 bytes, a description as JSON, and the frames, aligned to 64 bytes. The header tells the length
of both parts and carries a checksum of each, so a file that is cut, flipped or half-written reads as damaged.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from o3v.types import Clip

MAGIC: Final = b"o3vclip1"
HEADER: Final = struct.Struct("<8sIIQI")
HEADER_BYTES: Final = 64
CRC_AT: Final = HEADER_BYTES - 4
ALIGN_BYTES: Final = 64
ROW_WORDS: Final = 512
"""Words of 8 bytes in a row of the checksum: one memory page."""


class DamagedEntry(Exception):
    """A file that is no whole entry."""


@dataclass(frozen=True)
class Entry:
    """What a file holds.

    Attributes:
        clip: frames are read-only, and with `mapped` a view of the file.
        decode_s: seconds that decoding and resizing took when the entry was made.
        n_bytes: size of the file.
    """

    clip: Clip
    decode_s: float
    n_bytes: int


def checksum(data: np.ndarray) -> int:
    """32 bits over bytes, at the speed of memory: CRC-32 of the sums of rows and columns of a table of 64-bit words.

    A change inside one word always changes it, so does any cut or exchange of pages; what several changes could hide
    must balance in every row and column. CRC-32 of all bytes would take four times as long as this, and as long as
    everything else that serving a clip takes.

    Args:
        data: [N] uint8, contiguous.

    >>> a = np.arange(10_000, dtype=np.uint8)
    >>> b = a.copy(); b[5000] ^= 1
    >>> checksum(a) == checksum(a.copy()), checksum(a) == checksum(b), checksum(a) == checksum(a[:-1])
    (True, False, False)
    """
    row_bytes = 8 * ROW_WORDS
    whole = len(data) // row_bytes * row_bytes
    table = data[:whole].view(np.uint64).reshape(-1, ROW_WORDS)
    crc = zlib.crc32(table.sum(axis=1, dtype=np.uint64).tobytes())
    crc = zlib.crc32(table.sum(axis=0, dtype=np.uint64).tobytes(), crc)
    return zlib.crc32(data[whole:].tobytes() + len(data).to_bytes(8, "little"), crc)


def write_entry(path: Path, clip: Clip, decode_s: float) -> int:
    """Keep a clip at `path`, where it appears whole or not at all.

    The bytes are on the disk before the name is: a machine that stops in between leaves a temporary file, which
    `o3v.video.store.space` clears away.

    Returns:
        Bytes of the file.

    Raises:
        OSError: the folder cannot be written or is full; nothing is left behind.
    """
    meta = {
        "shape": list(clip.frames.shape),
        "times_s": [float(time_s) for time_s in clip.times_s],
        "duration_s": float(clip.duration_s),
        "original_size_px": list(clip.original_size_px),
        "decode_s": float(decode_s),
    }
    frames = np.ascontiguousarray(clip.frames, dtype=np.uint8).reshape(-1)
    text = json.dumps(meta).encode()
    start = _aligned(HEADER_BYTES + len(text))
    header = HEADER.pack(MAGIC, len(text), zlib.crc32(text), len(frames), checksum(frames)).ljust(CRC_AT, b"\0")
    front = header + zlib.crc32(header).to_bytes(4, "little") + text
    write_aside(path, front.ljust(start, b"\0"), frames.data)
    return start + len(frames)


def write_aside(path: Path, *parts: bytes | memoryview) -> None:
    """Write a file under a temporary name of this process, bring it to the disk, then give it its name.

    Raises:
        OSError: it cannot be written; nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
    try:
        with open(temporary, "wb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_entry(path: Path, mapped: bool) -> Entry:
    """The clip at `path`, checked.

    Args:
        path: the file.
        mapped: frames are a view of the file's pages; else a copy in memory. A mapped file may be unlinked, but on a
            network file system only by the machine that has it mapped: another machine's unlink ends the process that
            reads a page which it does not hold yet.

    Raises:
        FileNotFoundError: there is none.
        DamagedEntry: it is cut, altered, or no entry at all.
        OSError: it cannot be read.
    """
    data = _bytes_of(path, mapped)
    if len(data) < HEADER_BYTES:
        raise DamagedEntry(f"{path}: {len(data)} bytes")
    header = data[:CRC_AT].tobytes()
    magic, meta_bytes, meta_crc, n_bytes, frames_sum = HEADER.unpack_from(header)
    if magic != MAGIC or zlib.crc32(header) != int.from_bytes(data[CRC_AT:HEADER_BYTES].tobytes(), "little"):
        raise DamagedEntry(f"{path}: header")
    start = _aligned(HEADER_BYTES + meta_bytes)
    if len(data) != start + n_bytes:
        raise DamagedEntry(f"{path}: {len(data)} bytes, wanted {start + n_bytes}")
    text = data[HEADER_BYTES : HEADER_BYTES + meta_bytes].tobytes()
    if zlib.crc32(text) != meta_crc or data[HEADER_BYTES + meta_bytes : start].any():
        raise DamagedEntry(f"{path}: description")
    if checksum(data[start:]) != frames_sum:
        raise DamagedEntry(f"{path}: frames")
    return _entry(json.loads(text), data[start:], len(data))


def _entry(meta: dict[str, Any], frames: np.ndarray, n_bytes: int) -> Entry:
    width, height = meta["original_size_px"]
    clip = Clip(frames.reshape(meta["shape"]), tuple(meta["times_s"]), meta["duration_s"], (width, height))
    return Entry(clip, meta["decode_s"], n_bytes)


def _bytes_of(path: Path, mapped: bool) -> np.ndarray:
    """[N] uint8 of a file, read-only."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if mapped and size:
            return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), dtype=np.uint8)
        data = np.fromfile(file, dtype=np.uint8)
    data.flags.writeable = False
    return data


def _aligned(n_bytes: int) -> int:
    return -(-n_bytes // ALIGN_BYTES) * ALIGN_BYTES
