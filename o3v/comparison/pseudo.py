"""One value a seed and video whose mean over videos is the seed's number: the table that `twoway.py` reads.

A mean over questions is not a mean over videos: a video with three questions weighs three times as much. And mAM is
not a mean at all, but a function of means. The linearised jackknife makes both into a table of which the mean over
videos is exactly the number, and the variation over videos that of the number: for the mean m of a column over n
questions,

    u[c] = m + C / n * sum over the questions i of video c of (x[i] - m)

and for a function f of means m_k the same with sum over k of df/dm_k * C / n_k * sum (x_k[i] - m_k). With one seed the
interval is then the one clustered by video (`o3v.benchmarks.statistics`), to the last digit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from o3v.benchmarks.statistics import Columns, Derived, cluster_sums

_STEP = 1e-6  # of a difference quotient: metrics are between 0 and about 10


@dataclass(frozen=True)
class Pseudo:
    """The numbers of one run, video by video.

    Attributes:
        names: the columns, then the numbers made of their means.
        numbers: name -> the number; nan without data.
        pulls: name -> [V] how far each video pulls the number away from where it would be without it, summing to 0.
        there: name -> [V] booleans: has the video a question that the number depends on.
    """

    names: tuple[str, ...]
    numbers: Mapping[str, float]
    pulls: Mapping[str, np.ndarray]
    there: Mapping[str, np.ndarray]

    def values(self, name: str, videos: np.ndarray | None = None) -> np.ndarray:
        """[C] pseudo-values, whose mean is the number.

        Args:
            name: of a number.
            videos: [V] booleans, which C videos count, at least those that are there; None: those.
        """
        counted = self.there[name] if videos is None else videos
        return self.numbers[name] + counted.sum() * self.pulls[name][counted]  # type: ignore[no-any-return]


def pseudo_values(columns: Columns, videos: Sequence[str], derived: Derived) -> Pseudo:
    """Numbers of one run with their pseudo-values.

    Args:
        columns: name -> [N] values, nan where a column does not apply.
        videos: [N] video of each question; videos are ordered by name in the result.
        derived: name -> function of the columns' means.

    Example:
        >>> found = pseudo_values({"acc": np.array([1.0, 1.0, 0.0])}, ["a", "a", "b"], {})
        >>> round(found.numbers["acc"], 4), found.values("acc").round(4).tolist()
        (0.6667, [1.1111, 0.2222])
    """
    names = list(columns)
    table = np.stack([columns[name] for name in names], axis=1) if names else np.zeros((len(videos), 0))
    sums, counts = cluster_sums(table, videos)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = sums.sum(0) / counts.sum(0)
        pulled = np.where(counts > 0, (sums - counts * means) / counts.sum(0), 0.0)  # [V, K]
    numbers = dict(zip(names, means.tolist(), strict=True))
    pulls = {name: pulled[:, k] for k, name in enumerate(names)}
    there: dict[str, np.ndarray] = {name: counts[:, k] > 0 for k, name in enumerate(names)}
    for name, function in derived.items():
        number, slopes = _linearised(function, names, means)
        used = np.abs(slopes) > 0
        numbers[name] = number
        pulls[name] = pulled[:, used] @ slopes[used]
        there[name] = np.logical_or.reduce(counts[:, used] > 0, axis=1)
    return Pseudo((*names, *derived), numbers, pulls, there)


def _linearised(
    function: Callable[[Columns], np.ndarray], names: Sequence[str], means: np.ndarray
) -> tuple[float, np.ndarray]:
    """Value and [K] slopes of a function of means; a mean that is not there has slope 0."""
    k = len(names)
    points = np.repeat(means[None, :], 2 * k + 1, axis=0)
    points[np.arange(k), np.arange(k)] += _STEP
    points[k + np.arange(k), np.arange(k)] -= _STEP
    made = function({name: points[:, i] for i, name in enumerate(names)})
    slopes = (made[:k] - made[k : 2 * k]) / (2 * _STEP)
    return float(made[-1]), np.where(np.isfinite(slopes), slopes, 0.0)
