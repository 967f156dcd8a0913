"""Who decodes a clip while others wait: a claim is a file that only one process can make.

Nothing rests on file locks, which network file systems do not all keep. Should two processes hold one claim after all
(a takeover in the moment of another), a clip is decoded twice and written twice, whole both times.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Claims:
    """How claims are taken and when they lapse.

    Attributes:
        expiry_s: a claim whose holder has shown no sign for so long may be taken over. A holder shows one four times
            as often; one that died on this machine is known at once.
        longest_s: a holder that is still not done after so long shows no more signs.
    """

    expiry_s: float
    longest_s: float

    def take(self, path: Path) -> Claim | None:
        """The claim at `path`, or None where somebody has it.

        Raises:
            OSError: the folder cannot be written.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            return None
        os.write(handle, json.dumps({"place": place(), "pid": os.getpid(), "born": born(os.getpid())}).encode())
        return Claim(path, handle, self)

    def watch(self, path: Path) -> Watch:
        """What a process that waits for a claim knows about it."""
        return Watch(path, self.expiry_s)


@dataclass(frozen=True)
class Claim:
    """A claim that this process holds."""

    path: Path
    handle: int
    rules: Claims

    @contextmanager
    def held(self) -> Iterator[None]:
        """Signs of life while the block runs; afterwards the claim is given back."""
        done = threading.Event()
        pulse = threading.Thread(target=self._pulse, args=(done,), daemon=True)
        pulse.start()
        try:
            yield
        finally:
            done.set()
            pulse.join()
            self.release()

    def _pulse(self, done: threading.Event) -> None:
        end_s = time.monotonic() + self.rules.longest_s
        while not done.wait(self.rules.expiry_s / 4) and time.monotonic() < end_s:
            try:
                os.utime(self.handle)  # by handle: a claim that was taken over is another file
            except OSError:
                return

    def release(self) -> None:
        """Give the claim back, unless somebody took it over."""
        try:
            if os.stat(self.path).st_ino == os.fstat(self.handle).st_ino:
                os.unlink(self.path)
        except OSError:
            pass  # gone, or the disk is: it lapses
        finally:
            os.close(self.handle)


@dataclass
class Watch:
    """A claim as seen by one who waits for it.

    Attributes:
        path: the claim.
        expiry_s: as in `Claims`.
        clock_s: seconds that only grow. The watcher's own, as two machines' clocks need not agree.
    """

    path: Path
    expiry_s: float
    clock_s: Callable[[], float] = time.monotonic
    _seen: tuple[int, int] | None = field(default=None, init=False)
    _since_s: float = field(default=0.0, init=False)

    def lapsed(self) -> bool:
        """Whether the holder is known to be dead, or has shown no sign for `expiry_s` while this process watched."""
        try:
            stat = os.stat(self.path)
        except OSError:
            return False
        now_s = self.clock_s()
        if (stat.st_ino, stat.st_mtime_ns) != self._seen:
            self._seen, self._since_s = (stat.st_ino, stat.st_mtime_ns), now_s
        return now_s - self._since_s > self.expiry_s or holder_is_dead(self.path)

    def clear(self) -> None:
        """Take a lapsed claim away, so that anybody may take it anew.

        What was renamed is looked at: it may be the fresh claim of one who was quicker, and then goes back.
        """
        aside = self.path.with_name(f".{self.path.name}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
        try:
            os.rename(self.path, aside)
            if self._seen is not None and os.stat(aside).st_ino != self._seen[0]:
                os.link(aside, self.path)
        except OSError:
            pass  # somebody else did it
        finally:
            aside.unlink(missing_ok=True)


def holder_is_dead(path: Path) -> bool:
    """Whether a claim's process ran on this machine and is gone; False where that cannot be known."""
    try:
        holder = json.loads(path.read_bytes())
        return holder["place"] == place() and born(holder["pid"]) != holder["born"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


@cache
def place() -> str:
    """This machine since its last start, and the space in which its process numbers count (a container's own)."""
    parts = [os.uname().nodename]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    with suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def born(pid: int) -> str:
    """When a process started, in the kernel's ticks; empty where there is none. A number alone is given out again."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]
