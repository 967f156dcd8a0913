"""How sure is a mean over seeds and videos: an interval that holds for other seeds and other videos.

Numbers of a study vary for two reasons: another seed gives other weights, another set of videos other questions. Every
seed answers the same videos, so the two are crossed: the value of seed s on video c is

    u[s, c] = mean + seed[s] + video[c] + rest[s, c].

This is the design of studies in which several readers judge the same cases, and it is treated as there: mean squares
MS_seed, MS_video, MS_rest of the table, and for the mean of its S x C values

    variance = (MS_video + max(MS_seed - MS_rest, 0)) / (S * C)
    df = (S * C * variance)^2 / (known / (S - 1) + MS_video^2 / (C - 1))
    known = MS_seed * min(MS_seed, 2 * max(MS_seed - MS_rest, 0))

The expectation of MS_seed + MS_video - MS_rest is S * C times the true variance (Dorfman, Berbaum and Metz 1992; with
cluster sums it is the two-way clustered estimate of Cameron, Gelbach and Miller 2011). The lower bound MS_video
keeps the interval from ever being narrower than the one clustered by video alone when three seeds happen to agree.
Where the seeds differ, MS_seed at twice MS_rest or more, the degrees of freedom take all of MS_seed, as Hillis (2007)
does, not the part that is left after MS_rest, which would hold less often; below that, `known` falls to 0 without a
jump, so that no rounding decides. The interval is mean ± t(df) * sqrt(variance).

Why not the two-way clustered normal interval itself: with few seeds it is far too narrow, because the variance between
three seeds is known to two degrees of freedom only. `python -m o3v.bench coverage` simulates both; docs/compare.md has
the figures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from o3v.comparison.student import quantile_95, two_sided_p

Kind = Literal["seeds and videos", "seeds", "videos", "none"]
"""Which variation an interval covers."""


@dataclass(frozen=True)
class Spread:
    """A mean and how sure it is.

    Attributes:
        value: the mean.
        low, high: 95 % interval; nan where there is nothing to estimate it from.
        se: standard error.
        df: degrees of freedom of t.
        p: two-sided, of a mean of 0, from the same t; 1 where the mean is 0 and nothing varies.
        kind: what the interval covers.
    """

    value: float
    low: float
    high: float
    se: float
    df: float
    p: float
    kind: Kind


def two_way(table: np.ndarray) -> Spread:
    """Mean of a table of seeds and videos, see the head of this file.

    Args:
        table: [S, C] values, one row a seed, one column a video; a single row gives the interval clustered by video.

    Returns:
        The mean over all values; without an interval where there are fewer than two videos.

    Example:
        >>> spread = two_way(np.array([[0.0, 1.0, 2.0], [1.0, 2.0, 3.0]]))
        >>> spread.value, round(spread.se, 4), spread.kind
        (1.5, 0.7638, 'seeds and videos')
    """
    seeds, videos = table.shape
    if videos < 2:
        return _none(float(table.mean()) if table.size else math.nan)
    if seeds < 2:
        return _spread(float(table.mean()), float(table.var(ddof=1)) / videos, videos - 1.0, "videos")
    mean = float(table.mean())
    of_seed, of_video = table.mean(axis=1) - mean, table.mean(axis=0) - mean
    rest = table - mean - of_seed[:, None] - of_video[None, :]
    ms_seed = videos * float(np.square(of_seed).sum()) / (seeds - 1)
    ms_video = seeds * float(np.square(of_video).sum()) / (videos - 1)
    ms_rest = float(np.square(rest).sum()) / ((seeds - 1) * (videos - 1))
    total = ms_video + max(ms_seed - ms_rest, 0.0)
    known = ms_seed * min(ms_seed, 2 * max(ms_seed - ms_rest, 0.0))
    spent = ms_video**2 / (videos - 1) + known / (seeds - 1)
    df = total**2 / spent if spent > 0 else math.inf
    return _spread(mean, total / (seeds * videos), df, "seeds and videos")


def over_seeds(values: np.ndarray) -> Spread:
    """Mean of one number a seed, and Student's interval for the mean over further seeds on the same questions.

    Args:
        values: [S].

    Example:
        >>> spread = over_seeds(np.array([1.0, 2.0, 3.0]))
        >>> spread.value, round(spread.low, 3), round(spread.high, 3), spread.kind
        (2.0, -0.484, 4.484, 'seeds')
    """
    if len(values) < 2:
        return _none(float(values.mean()) if len(values) else math.nan)
    return _spread(float(values.mean()), float(values.var(ddof=1)) / len(values), len(values) - 1.0, "seeds")


def _spread(value: float, variance: float, df: float, kind: Kind) -> Spread:
    if math.isnan(value):
        return _none(value)
    se = math.sqrt(variance)
    if se <= 1e-12 * max(1.0, abs(value)):  # what is left of equal values after rounding
        return Spread(value, value, value, 0.0, df, 1.0 if abs(value) < 1e-12 else 0.0, kind)
    half = quantile_95(df) * se
    return Spread(value, value - half, value + half, se, df, two_sided_p(value / se, df), kind)


def _none(value: float) -> Spread:
    return Spread(value, math.nan, math.nan, math.nan, math.nan, math.nan, "none")
