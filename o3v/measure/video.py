"""How long sampling a film takes, how right its times are, and what a warm frame store saves."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from o3v.measure.video_films import Film, read_number
from o3v.measure.video_rivals import OWN, Reader

log = logging.getLogger(__name__)

T_95: Final = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36, 9: 2.31, 10: 2.26}
"""Student's t at 97.5 %, by number of values; more than 10 use 2.26, which is a little wide."""


@dataclass(frozen=True)
class Run:
    """One sampling.

    Attributes:
        wall_s, cpu_s: what it took; CPU seconds of all threads.
        worst_time_error_s: largest difference of a returned time and the frame's true one.
        wrong_frames: frames that show another number than wanted.
    """

    wall_s: float
    cpu_s: float
    worst_time_error_s: float
    wrong_frames: int


def sample_once(reader: Reader, film: Film, path: Path, n_frames: int) -> Run:
    """One reader samples an even spread of a film."""
    wanted_s = film.even_times(n_frames)
    clocks = time.perf_counter(), time.process_time()
    frames, times_s = reader(path, wanted_s, film.fps)
    wall_s, cpu_s = time.perf_counter() - clocks[0], time.process_time() - clocks[1]
    numbers = [film.number(round(time_s * film.fps)) for time_s in wanted_s]
    wrong = sum(read_number(frame) != number for frame, number in zip(frames, numbers, strict=True))
    return Run(wall_s, cpu_s, float(np.abs(np.subtract(times_s, wanted_s)).max()), wrong)


def compare(
    readers: Mapping[str, Reader], film: Film, path: Path, n_frames: int, repeats: int, budget_s: float
) -> dict[str, list[Run]]:
    """Rounds in which every reader samples the film once, in turn.

    A slow minute of the machine so hits all of them. The first round warms files and libraries and does not count.

    Args:
        readers: name -> reader.
        film: what `path` holds.
        path: the file.
        n_frames: of the even spread.
        repeats: most rounds.
        budget_s: no further round, after the third, once the rounds have taken so long.
    """
    runs: dict[str, list[Run]] = {name: [] for name in readers}
    start_s = time.monotonic()
    for number in range(repeats + 1):
        if number > 3 and time.monotonic() - start_s > budget_s:
            break
        order = list(readers)[number % len(readers) :] + list(readers)[: number % len(readers)]
        for name in order:
            run = sample_once(readers[name], film, path, n_frames)
            if number:
                runs[name].append(run)
    return runs


def summary(runs: Mapping[str, Sequence[Run]]) -> dict[str, dict[str, Any]]:
    """Medians by reader, and how many times as long as `o3v` it took, with the 95 % interval over rounds."""
    result: dict[str, dict[str, Any]] = {}
    for name, own in runs.items():
        result[name] = {
            "rounds": len(own),
            "wall_s": float(np.median([run.wall_s for run in own])),
            "cpu_s": float(np.median([run.cpu_s for run in own])),
            "worst_time_error_s": max(run.worst_time_error_s for run in own),
            "wrong_frames": max(run.wrong_frames for run in own),
        }
        if name != OWN:
            pairs = list(zip(own, runs[OWN], strict=True))
            result[name]["wall_over_o3v"] = ratio([a.wall_s / b.wall_s for a, b in pairs])
            result[name]["cpu_over_o3v"] = ratio([a.cpu_s / b.cpu_s for a, b in pairs])
    return result


def ratio(values: Sequence[float]) -> dict[str, float]:
    """Geometric mean of ratios, with its 95 % interval by Student's t over their logarithms.

    >>> {name: round(value, 2) for name, value in ratio([2.0, 2.0, 2.0]).items()}
    {'mean': 2.0, 'low': 2.0, 'high': 2.0}
    """
    logs = np.log(values)
    half = T_95.get(len(logs), 2.26) * logs.std(ddof=1) / math.sqrt(len(logs)) if len(logs) > 1 else math.inf
    return {"mean": math.exp(logs.mean()), "low": math.exp(logs.mean() - half), "high": math.exp(logs.mean() + half)}


def store_gain(decode: Callable[[], np.ndarray], served: Callable[[], np.ndarray], repeats: int) -> dict[str, Any]:
    """Reading a clip from a warm store beside decoding it, in turn.

    Args:
        decode: decodes and resizes the frames.
        served: the same frames from the store, checked.
        repeats: pairs.

    Returns:
        Medians in seconds, bytes of the frames, and decoding over reading with its interval, by both clocks.
    """
    walls, cpus = [], []
    for _ in range(repeats):
        (decode_s, decode_cpu_s, fresh), (read_s, read_cpu_s, stored) = _timed(decode), _timed(served)
        assert np.array_equal(fresh, stored)
        walls.append((decode_s, read_s))
        cpus.append((decode_cpu_s, read_cpu_s))
    medians = [float(value) for pair in (walls, cpus) for value in np.median(pair, axis=0)]
    return {
        "pairs": repeats,
        "bytes": fresh.nbytes,
        **dict(zip(("decode_s", "read_s", "decode_cpu_s", "read_cpu_s"), medians, strict=True)),
        "decode_over_read": ratio([slow / quick for slow, quick in walls]),
        "cpu_decode_over_read": ratio([slow / quick for slow, quick in cpus]),
    }


def _timed(make: Callable[[], np.ndarray]) -> tuple[float, float, np.ndarray]:
    """Wall and CPU seconds, and what was made."""
    clocks = time.perf_counter(), time.process_time()
    made = make()
    return time.perf_counter() - clocks[0], time.process_time() - clocks[1], made


def load() -> float:
    """Mean number of processes that wanted a core in the last minute: how far wall times can be trusted."""
    return os.getloadavg()[0]
