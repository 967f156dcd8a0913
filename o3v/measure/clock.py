"""Readings of a step by phase: CPU seconds, memory, or whatever else grows while a step runs."""

from __future__ import annotations

import ctypes
import gc
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

Reading = dict[str, float]
Instrument = Callable[[], AbstractContextManager[Callable[[], Reading]]]
"""Opened for one step; what it yields is read at the borders of the phases."""

PHASES = ("rollout", "ref", "forward", "backward", "optimizer")
WHOLE = "step"


class Meter:
    """One step's readings: what each phase and the whole step added.

    Attributes:
        phases: phase -> name of the reading -> difference; the whole step stands under `step`. What it has beyond its
            phases (preparing inputs, the trainer's own bookkeeping) is in no phase.
    """

    def __init__(self, instrument: Instrument) -> None:
        self._instrument = instrument
        self._read: Callable[[], Reading] | None = None
        self.phases: dict[str, Reading] = {}

    @contextmanager
    def step(self) -> Iterator[None]:
        """Around the whole step."""
        with self._instrument() as read:
            self._read = read
            with self.phase(WHOLE):
                yield
            self._read = None

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Around a part of the step; a phase that is entered again adds up. Outside of a step nothing is read."""
        if self._read is None:
            yield
            return
        before = self._read()
        yield
        total = self.phases.setdefault(name, dict.fromkeys(before, 0.0))
        for key, value in self._read().items():
            total[key] += value - before[key]


@contextmanager
def cpu_seconds() -> Iterator[Callable[[], Reading]]:
    """Instrument: CPU seconds of this process, which other load on the machine changes little."""
    yield lambda: {"cpu_s": time.process_time()}


def reset_peak_memory() -> float:
    """Forget the highest memory so far; returns the resident memory now, in MiB.

    What the allocator holds free is given back first: otherwise a step could use it unseen.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
    if trim is not None:
        trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # Linux: sets VmHWM to VmRSS
    return peak_memory()


def peak_memory() -> float:
    """Highest resident memory of this process since `reset_peak_memory`, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024


def product_rate(product: Callable[[Any, Any], Any], rounds: int = 5) -> float:
    """Rate of a float32 matrix product of the size of a prompt's, 1e9 operations a CPU second, the best of some rounds.

    1024 x 512 by 2816 x 512: gate and up projection of the measured model. Floor work over this rate is the floor time.
    `product` multiplies the first by the second, transposed.
    """
    import torch

    left, right, repeats = torch.randn(1024, 512), torch.randn(2816, 512), 20
    work = 2 * left.shape[0] * left.shape[1] * right.shape[0] * repeats

    def seconds() -> float:
        start = time.process_time()
        for _ in range(repeats):
            product(left, right)
        return time.process_time() - start

    return work / min(seconds() for _ in range(1 + rounds)) / 1e9
