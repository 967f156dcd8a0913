"""Clips by key: read from disk, or decoded by one process while the others wait for it."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any, Final

from o3v.errors import ConfigError, StorageError
from o3v.types import Clip
from o3v.video.store.claims import Claim, Claims
from o3v.video.store.content import ContentKeys, Stamp, stamp_of
from o3v.video.store.counts import Counts
from o3v.video.store.entry import DamagedEntry, Entry, read_entry, write_entry
from o3v.video.store.space import CLAIM, CLIP, Space

logger = logging.getLogger(__name__)

READS: Final = ("map", "copy")
FIRST_PAUSE_S: Final = 0.002
LONGEST_PAUSE_S: Final = 0.25


class FrameStore:
    """Decoded clips on disk. Small and picklable: a copy lives in every loader worker.

    A store never stops a run: what cannot be read is decoded, what cannot be written is not kept, both are counted.

    Attributes:
        counts: what it did in this process and its loader workers.
    """

    def __init__(
        self,
        root: str | Path,
        key: str,
        read: str,
        limit_gb: float,
        keep_free_gb: float,
        keep_used_h: float,
        touch_s: float,
        claim: Mapping[str, float],
    ) -> None:
        """Nothing is written yet.

        Args:
            root: folder; may be shared by machines.
            key: what names a video: `content` or `stat` (`ContentKeys`).
            read: `map` (frames are the file's pages) or `copy` (safe where another machine may evict).
            limit_gb: most 1e9 bytes of all clips.
            keep_free_gb: 1e9 bytes of the disk that stay free.
            keep_used_h: hours for which a used clip is safe from eviction.
            touch_s: a clip's use is noted at most so often.
            claim: `expiry_s`, after which a silent process' work is taken over, and `wait_s`, after which a process
                that waits decodes for itself.

        Raises:
            ConfigError: a value that is not allowed.
            StorageError: the folder cannot be made or written.
        """
        if read not in READS:
            raise ConfigError(f"store.read={read}: allowed are {', '.join(READS)}")
        if set(claim) != {"expiry_s", "wait_s"}:
            raise ConfigError(f"store.claim has {sorted(claim)}: wanted expiry_s and wait_s")
        numbers = {"limit_gb": limit_gb, "claim.expiry_s": claim["expiry_s"], "claim.wait_s": claim["wait_s"]}
        for name, value in numbers.items():
            if not value > 0:
                raise ConfigError(f"store.{name}={value}: wanted a number above 0")
        self.root = Path(root).absolute()
        _check_place(self.root)
        self.counts = Counts.new()
        self._clips, self._mapped = self.root / "clips", read == "map"
        self._touch_s, self._wait_s = touch_s, claim["wait_s"]
        self._names = ContentKeys(self.root / "hashes", key)
        self._claims = Claims(claim["expiry_s"], claim["wait_s"])
        self._space = Space(self._clips, int(limit_gb * 1e9), int(keep_free_gb * 1e9), keep_used_h * 3600)

    def clip(self, path: Path, what: Mapping[str, Any], decode: Callable[[], Clip]) -> Clip:
        """The clip of a file, decoded by one process of all that share the store.

        Args:
            path: the video.
            what: everything else on which the frames depend, as values of JSON.
            decode: makes the clip.

        Returns:
            A clip equal to `decode()` in every value; its frames may be read-only.

        Raises:
            MediaError: the file is missing or cannot be read, or whatever `decode` raises.
        """
        stamp = _stamp(path)
        place = self._clips / self.entry_name(self._names.name(path), what)
        found = self._served(place)
        if found is not None:
            return found
        claimed = self._claimed(place)
        if isinstance(claimed, Clip):
            return claimed
        with nullcontext() if claimed is None else claimed.held():
            return self._decoded(path, stamp, place, decode)

    @staticmethod
    def entry_name(content: str, what: Mapping[str, Any]) -> str:
        """Place of an entry below the folder of clips: a hash of all it depends on."""
        text = json.dumps([content, what], sort_keys=True, separators=(",", ":"))
        name = hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:40]
        return f"{name[:2]}/{name}{CLIP}"

    def metrics(self) -> dict[str, float]:
        """Counts so far under the names `store/...`."""
        return {f"store/{name}": value for name, value in self.counts.totals().items()}

    def _served(self, place: Path) -> Clip | None:
        start_s = time.perf_counter()
        try:
            entry = read_entry(place, self._mapped)
        except FileNotFoundError:
            return None
        except (DamagedEntry, OSError) as error:
            logger.warning("a stored clip is decoded again: %s", error)
            self.counts.add(damaged=1)
            _unlink(place)
            return None
        self._touch(place)
        self._count_hit(entry, time.perf_counter() - start_s)
        return entry.clip

    def _count_hit(self, entry: Entry, read_s: float) -> None:
        self.counts.add(hits=1, bytes_read=entry.n_bytes, read_s=read_s, saved_s=entry.decode_s - read_s)

    def _touch(self, place: Path) -> None:
        """Note the use, seldom: a shared file system should not see a write for every read."""
        try:
            if time.time() - os.stat(place).st_mtime > self._touch_s:
                os.utime(place)
        except OSError:
            pass  # evicted meanwhile, or a store that may only be read

    def _claimed(self, place: Path) -> Clip | Claim | None:
        """The right to decode; or the clip that another process made meanwhile; or None where neither is to be had."""
        claim_file = place.with_suffix(CLAIM)
        watch, start_s, pause_s = self._claims.watch(claim_file), time.monotonic(), FIRST_PAUSE_S
        while time.monotonic() - start_s < self._wait_s:
            try:
                claim = self._claims.take(claim_file)
            except OSError as error:
                self._write_failed(error)
                return None
            found = self._served(place)  # also with the claim in hand: its last holder may just have finished
            if found is not None:
                if claim is not None:
                    claim.release()
                self.counts.add(waits=1, wait_s=time.monotonic() - start_s)
                return found
            if claim is not None:
                return claim
            if watch.lapsed():
                watch.clear()
                continue
            time.sleep(pause_s)
            pause_s = min(1.5 * pause_s, LONGEST_PAUSE_S)
        return None

    def _decoded(self, path: Path, stamp: Stamp | None, place: Path, decode: Callable[[], Clip]) -> Clip:
        start_s = time.perf_counter()
        clip = decode()
        decode_s = time.perf_counter() - start_s
        self.counts.add(misses=1, decode_s=decode_s)
        if stamp is not None and _stamp(path) == stamp:  # else what was decoded is not what was named
            self._keep(place, clip, decode_s)
        return clip

    def _keep(self, place: Path, clip: Clip, decode_s: float) -> None:
        try:
            cleared = self._space.make_room(clip.frames.nbytes)
            self.counts.add(full=not cleared.fits, evictions=cleared.entries, bytes_evicted=cleared.n_bytes)
            if cleared.fits:
                self.counts.add(bytes_written=write_entry(place, clip, decode_s))
        except OSError as error:
            self._write_failed(error)

    def _write_failed(self, error: OSError) -> None:
        if not self.counts.totals()["write_errors"]:
            logger.warning("%s: a clip cannot be kept (%s); the run goes on without", self.root, error)
        self.counts.add(write_errors=1)


def _stamp(path: Path) -> Stamp | None:
    try:
        return stamp_of(path)
    except OSError:
        return None


def _unlink(path: Path) -> None:
    with suppress(OSError):  # a store that may only be read
        path.unlink()


def _check_place(root: Path) -> None:
    """Refuse, before a run starts, a folder that can never be made."""
    there = next(folder for folder in (root, *root.parents) if folder.exists())
    if not there.is_dir():
        raise StorageError(f"store.root={root}: {there} is not a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise StorageError(f"store.root={root}: {there} cannot be written; store=none runs without a store")
