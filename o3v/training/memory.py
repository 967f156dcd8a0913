"""Memory of a training process on the CPU."""

from __future__ import annotations

import ctypes
import logging
import platform

log = logging.getLogger(__name__)

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # malloc.h of glibc
_PAD_BYTES = 64 * 2**20


def keep_freed_memory() -> bool:
    """Let the process keep what it frees: a step allocates the same activations again and again.

    By default glibc hands blocks above some size back to the system at once, and every step pays for fresh pages.
    Memory that is free stays in the process until it ends.

    Returns:
        Whether it was done; elsewhere than under glibc nothing happens.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    done = libc.mallopt(_MMAP_MAX, 0) and libc.mallopt(_TRIM_THRESHOLD, -1) and libc.mallopt(_TOP_PAD, _PAD_BYTES)
    log.debug("freed memory is kept by the process: %s", bool(done))
    return bool(done)
