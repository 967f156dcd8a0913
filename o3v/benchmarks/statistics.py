"""How sure a number is: means with intervals, and differences of two systems on the same samples.

Questions about one video are not independent, so the video is the unit: resampling draws videos with all their
questions, and standard errors add residuals within a video before squaring them (the cluster-robust estimator).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from o3v.errors import DataError

Columns = Mapping[str, np.ndarray]
Derived = Mapping[str, Callable[[Columns], np.ndarray]]

_CHUNK = 256  # resamples drawn at once: bounds memory to 256 x videos


@dataclass(frozen=True)
class Estimate:
    """A mean (or a number made of means) and how sure it is.

    Attributes:
        value: the number; nan without data.
        low, high: 95 % interval, percentiles of the bootstrap over videos; nan with fewer than two videos. With few
            videos it is too narrow: simulated, it held the truth in 91 % of the cases with 8 of them, 95 % with 100.
        se: standard error over videos; nan with fewer than two videos.
        n: samples.
        clusters: videos.
    """

    value: float
    low: float
    high: float
    se: float
    n: int
    clusters: int


@dataclass(frozen=True)
class PairedDifference:
    """Mean of a - b over the samples that both have.

    Attributes:
        mean: mean difference.
        se: standard error clustered by video.
        se_independent: standard error as if samples were independent, for comparison.
        low, high: 95 % interval, bootstrap over videos.
        z: mean / se.
        p: two-sided, normal approximation; too small below some 30 videos, see `permutation.swap_test`.
        n: common samples.
        clusters: their videos.
        unmatched: samples that only one of the two has; they are left out.
    """

    mean: float
    se: float
    se_independent: float
    low: float
    high: float
    z: float
    p: float
    n: int
    clusters: int
    unmatched: int


def estimate_mean(values: Sequence[float], clusters: Sequence[str], resamples: int, seed: int) -> Estimate:
    """Mean of values with a 95 % interval that knows which values belong together.

    Args:
        values: one a sample.
        clusters: the video of each sample.
        resamples: bootstrap draws.
        seed: of the draws; the result depends on nothing else random.

    Example:
        >>> e = estimate_mean([1.0, 1.0, 0.0, 0.0], ["a", "a", "b", "c"], resamples=200, seed=0)
        >>> e.value, e.n, e.clusters, e.low <= e.value <= e.high
        (0.5, 4, 3, True)
    """
    return estimate_columns({"x": np.asarray(values, dtype=float)}, clusters, {}, resamples, seed)["x"]


def estimate_columns(
    columns: Columns, clusters: Sequence[str], derived: Derived, resamples: int, seed: int
) -> dict[str, Estimate]:
    """Means of several columns, and numbers made of these means, under one joint bootstrap over videos.

    Args:
        columns: name -> [N] values, nan where a column does not apply to a sample.
        clusters: [N] video of each sample.
        derived: name -> function of the columns' means; it gets name -> [R] arrays and returns [R].
        resamples: bootstrap draws R.
        seed: of the draws.

    Returns:
        An `Estimate` a column and a derived number; `n` of a derived number is the largest of its samples' counts,
        the number of samples that any column applies to.
    """
    names = list(columns)
    table = np.stack([columns[name] for name in names], axis=1) if names else np.zeros((len(clusters), 0))
    sums, counts = cluster_sums(table, clusters)
    with np.errstate(invalid="ignore", divide="ignore"):
        point = sums.sum(0, keepdims=True) / counts.sum(0, keepdims=True)
        draws = _bootstrap(sums, counts, resamples, seed)
    estimates: dict[str, Estimate] = {}
    for k, name in enumerate(names):
        present = counts[:, k] > 0
        se = _clustered_se(sums[present, k] - point[0, k] * counts[present, k], int(counts[:, k].sum()))
        estimates[name] = _estimate(point[0, k], draws[:, k], se, int(counts[:, k].sum()), int(present.sum()))
    any_sample = ~np.isnan(table).all(axis=1)
    n, n_clusters = int(any_sample.sum()), int((counts.sum(1) > 0).sum())
    for name, function in derived.items():
        value = function({key: point[:, k] for k, key in enumerate(names)})
        drawn = function({key: draws[:, k] for k, key in enumerate(names)})
        estimates[name] = _estimate(float(value[0]), drawn, _spread(drawn), n, n_clusters)
    return estimates


def paired_difference(
    a: Mapping[str, float], b: Mapping[str, float], cluster_of: Mapping[str, str], resamples: int, seed: int
) -> PairedDifference:
    """Mean of a - b over common samples, with standard error and interval clustered by video.

    se = sqrt(C / (C - 1) * sum_c (sum_{i in c} (d_i - mean))^2) / n; for one sample a video this is sd / sqrt(n).

    Args:
        a: sample id -> value of one system.
        b: the same of the other.
        cluster_of: sample id -> video.
        resamples: bootstrap draws.
        seed: of the draws.

    Raises:
        DataError: the two have no sample in common.

    Example:
        >>> d = paired_difference({"x": 1, "y": 1, "z": 0}, {"x": 0, "y": 1, "z": 0}, {k: k for k in "xyz"}, 100, 0)
        >>> round(d.mean, 4), round(d.se, 4), round(d.z, 4), round(d.p, 4)
        (0.3333, 0.3333, 1.0, 0.3173)
    """
    common = sorted(a.keys() & b.keys())
    if not common:
        raise DataError(f"no sample in common: {len(a)} and {len(b)} samples, for example {[*a][:1]} and {[*b][:1]}")
    of_a, of_b = ({"": np.array([side[key] for key in common], dtype=float)} for side in (a, b))
    found = paired_columns(of_a, of_b, [cluster_of[key] for key in common], resamples, seed)[""]
    return replace(found, unmatched=len(a.keys() ^ b.keys()))


def paired_columns(
    a: Columns, b: Columns, clusters: Sequence[str], resamples: int, seed: int
) -> dict[str, PairedDifference]:
    """Mean of a - b of several columns under one joint bootstrap over videos; see `paired_difference`.

    Args:
        a: name -> [N] values of one system, nan where a column does not apply.
        b: the same of the other, of the same samples in the same order.
        clusters: [N] video of each sample.
        resamples: bootstrap draws.
        seed: of the draws.

    Returns:
        A difference for every column that both have a value of in some sample.
    """
    differences = {name: a[name] - b[name] for name in a if name in b}
    differences = {name: values for name, values in differences.items() if not np.isnan(values).all()}
    estimates = estimate_columns(differences, clusters, {}, resamples, seed)
    return {
        name: as_difference(estimates[name], values, int((np.isnan(a[name]) ^ np.isnan(b[name])).sum()))
        for name, values in differences.items()
    }


def as_difference(estimate: Estimate, differences: np.ndarray | None, unmatched: int) -> PairedDifference:
    """The difference of two systems from the estimate of its mean.

    Args:
        estimate: of the mean difference.
        differences: of the samples, nan where there is none; None for a number made of means.
        unmatched: samples that only one of the two has.
    """
    there = np.zeros(0) if differences is None else differences[~np.isnan(differences)]
    z = _ratio(estimate.value, estimate.se)
    return PairedDifference(
        mean=estimate.value,
        se=estimate.se,
        se_independent=_clustered_se(there - there.mean(), len(there)) if len(there) else math.nan,
        low=estimate.low,
        high=estimate.high,
        z=z,
        p=math.erfc(abs(z) / math.sqrt(2)),
        n=estimate.n,
        clusters=estimate.clusters,
        unmatched=unmatched,
    )


def cluster_sums(table: np.ndarray, clusters: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """[C, K] sums and counts of the values that are there, of every video by name.

    Args:
        table: [N, K] values, nan where a column does not apply.
        clusters: [N] video of each sample.
    """
    names, index = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    there = ~np.isnan(table)
    if not len(names):
        return np.zeros((0, table.shape[1])), np.zeros((0, table.shape[1]))
    order = np.argsort(index, kind="stable")
    starts = np.searchsorted(index[order], np.arange(len(names)))
    sums = np.add.reduceat(np.where(there, table, 0.0)[order], starts, axis=0)
    return sums, np.add.reduceat(there[order].astype(float), starts, axis=0)


def _bootstrap(sums: np.ndarray, counts: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """[R, K] means of videos drawn with replacement."""
    n_clusters = len(sums)
    if n_clusters < 2:
        return np.full((resamples, sums.shape[1]), np.nan)
    rng = np.random.default_rng(seed)
    shares = np.full(n_clusters, 1 / n_clusters)
    means = []
    for start in range(0, resamples, _CHUNK):
        times = rng.multinomial(n_clusters, shares, size=min(_CHUNK, resamples - start))  # [chunk, C] how often drawn
        means.append((times @ sums) / (times @ counts))
    return np.concatenate(means) if means else np.zeros((0, sums.shape[1]))


def _clustered_se(residuals: np.ndarray, n: int) -> float:
    """Standard error of a mean of n values from the residual sums of its clusters."""
    n_clusters = len(residuals)
    if n_clusters < 2:
        return math.nan
    return float(np.sqrt(n_clusters / (n_clusters - 1) * np.square(residuals).sum()) / n)


def _spread(draws: np.ndarray) -> float:
    there = draws[~np.isnan(draws)]
    return float(there.std(ddof=1)) if len(there) > 1 else math.nan


def _estimate(value: float, draws: np.ndarray, se: float, n: int, clusters: int) -> Estimate:
    there = draws[~np.isnan(draws)]  # a draw may miss every video of a rare task
    low, high = np.percentile(there, [2.5, 97.5]) if len(there) and clusters > 1 else (math.nan, math.nan)
    return Estimate(value=float(value), low=float(low), high=float(high), se=se, n=n, clusters=clusters)


def _ratio(mean: float, se: float) -> float:
    if se > 0 or math.isnan(se):
        return mean / se
    return 0.0 if mean == 0 else math.copysign(math.inf, mean)
