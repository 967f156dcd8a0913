"""How often does a 95 % interval hold the truth? Simulated studies whose true difference is 0, by kind of interval.

A difference of two arms is drawn as `twoway.py` assumes it, seed + video + rest, or as two arms' yes/no answers to
videos with one to three questions, where nothing is normal and videos weigh differently. Four intervals are tried on
the same numbers: the one in use, the two-way clustered one with the normal distribution (Cameron, Gelbach and Miller
2011, without a correction for few clusters), the one clustered by video alone, and the one of independent questions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from o3v.comparison.differences import LEVEL
from o3v.comparison.pseudo import pseudo_values
from o3v.comparison.student import two_sided_p
from o3v.comparison.twoway import two_way

KINDS = ("normal", "yes_no")
"""What is drawn: normal differences, or the yes/no answers of two arms."""

METHODS = ("in_use", "two_way_normal", "videos_only", "independent")


@dataclass(frozen=True)
class Case:
    """What is simulated.

    Attributes:
        kind: one of `KINDS`.
        seeds, videos: how many.
        seed_sd, video_sd: standard deviations of what a seed and a video add to a difference; that of the rest is 1.
    """

    kind: str
    seeds: int
    videos: int
    seed_sd: float
    video_sd: float


def coverage(case: Case, repeats: int, seed: int) -> dict[str, float]:
    """Share of intervals that hold the true difference, for every method of `METHODS`.

    Args:
        case: what is simulated.
        repeats: simulated studies; the share has a standard error of about sqrt(0.05 * 0.95 / repeats).
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    draw = _normal if case.kind == "normal" else _yes_no
    held = dict.fromkeys(METHODS, 0)
    for _ in range(repeats):
        for method, p in _p_values(draw(case, rng)).items():
            held[method] += int(p > LEVEL)  # an interval holds 0 where the test of 0 does not reject
    return {method: count / repeats for method, count in held.items()}


def _p_values(table: np.ndarray) -> Mapping[str, float]:
    """P of the true value 0 by every method, from an [S, C] table."""
    videos = table.shape[1]
    mean, n = float(table.mean()), table.size
    rest = table - mean
    by_seed, by_video = np.square(rest.sum(axis=1)).sum(), np.square(rest.sum(axis=0)).sum()
    clustered = max(float(by_seed + by_video - np.square(rest).sum()), 0.0) / n**2
    of_video = float(table.mean(axis=0).var(ddof=1)) / videos
    return {
        "in_use": two_way(table).p,
        "two_way_normal": _p(mean, clustered, 1e9),
        "videos_only": _p(mean, of_video, videos - 1.0),
        "independent": _p(mean, float(table.var(ddof=1)) / n, n - 1.0),
    }


def _p(mean: float, variance: float, df: float) -> float:
    return two_sided_p(mean / math.sqrt(variance), df) if variance > 0 else float(mean == 0)


def _normal(case: Case, rng: np.random.Generator) -> np.ndarray:
    of_seed = case.seed_sd * rng.standard_normal((case.seeds, 1))
    of_video = case.video_sd * rng.standard_normal((1, case.videos))
    return of_seed + of_video + rng.standard_normal((case.seeds, case.videos))


def _yes_no(case: Case, rng: np.random.Generator) -> np.ndarray:
    """Pseudo-values of the difference of two arms whose answers are right where a normal number is above 0.

    What a video adds to a difference is what it adds to one of two arms: half the variance each.
    """
    videos = np.repeat(np.arange(case.videos), rng.integers(1, 4, size=case.videos))
    names = [f"v{video:05d}" for video in videos]
    shared = rng.standard_normal(case.videos)[videos]  # as hard for both arms
    of_arm = case.video_sd / np.sqrt(2) * rng.standard_normal((2, case.videos))[:, videos]
    rows = []
    for _ in range(case.seeds):
        of_seed = case.seed_sd / np.sqrt(2) * rng.standard_normal((2, 1))
        right = shared + of_arm + of_seed + rng.standard_normal((2, len(videos))) > 0
        difference = right[0].astype(float) - right[1].astype(float)
        rows.append(pseudo_values({"d": difference}, names, {}).values("d"))
    return np.stack(rows)
