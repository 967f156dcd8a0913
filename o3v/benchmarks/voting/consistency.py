"""How far the evidence of one path agrees with that of the others that come to the same answer.

Self-consistency (arXiv:2203.11171) counts answers; here an answer counts the more, the more its paths also point at
the same things. For claims c, d with times t and boxes b

    agree(c, d) = exp(-(t_c - t_d)^2 / (2 sigma^2)) * max over their boxes of IoU(b_c, b_d)
    consistency(p) = mean over the other paths q with p's answer of
                     mean over claims c of p of max over claims d of q of agree(c, d)
    weight(p) = floor + (1 - floor) * consistency(p)

which lies between `floor` and 1. The time kernel is the reward's (arXiv:2510.20579, eq. 4, sigma 1 s at its end); the
floor is what confidence voting gives a path without evidence, so that an answer never loses its vote. Names do not
count, as in the rewards: the same thing is called by many names. A path without claims, or alone with its answer, has
consistency 0. It needs no second call of the model: beside confidence voting it costs nothing.

A claim more that no other path supports lowers the mean, the same claim said twice does not raise it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from o3v.benchmarks.voting.paths import Path
from o3v.grounding.boxes import box_iou
from o3v.types import Claim


def agreement(a: Claim, b: Claim, sigma_s: float) -> float:
    """How far two claims point at the same thing at the same time, 0 to 1; symmetric.

    Example:
        >>> box = (0.0, 0.0, 1.0, 1.0)
        >>> agreement(Claim("cat", (box,), 2.0), Claim("kitten", (box,), 2.0), sigma_s=1.0)
        1.0
        >>> round(agreement(Claim("cat", (box,), 2.0), Claim("cat", ((0.0, 0.0, 0.5, 1.0),), 3.0), sigma_s=1.0), 4)
        0.3033
    """
    near = math.exp(-(((a.time_s - b.time_s) / sigma_s) ** 2) / 2)
    return near * max((box_iou(one, two) for one in a.boxes for two in b.boxes), default=0.0)


Supports = Sequence[Sequence[float]]
"""[N][N]: how far the claims of a path (row) are supported by those of another (column), 0 to 1."""


def supports(paths: Sequence[Path], sigma_s: float) -> Supports:
    """Support of every path by every other: the mean over its claims of the best agreement; 0 without claims.

    Args:
        paths: of one question.
        sigma_s: width of the time kernel in seconds.
    """
    return [[_support(path.claims, other.claims, sigma_s) for other in paths] for path in paths]


def consistency(paths: Sequence[Path], table: Supports, chosen: Sequence[int]) -> list[float]:
    """Consistency of the chosen paths among each other, in the order of `chosen`; see the head of this file.

    Args:
        paths: of one question.
        table: their `supports`.
        chosen: indices of those that take part.

    Returns:
        0 to 1; 0 for a path without an answer, without claims, or alone with its answer.
    """
    return [_consistency(index, paths, table, chosen) for index in chosen]


def _consistency(index: int, paths: Sequence[Path], table: Supports, chosen: Sequence[int]) -> float:
    answer = paths[index].answer
    peers = [k for k in chosen if k != index and paths[k].thought and paths[k].answer == answer]
    if answer is None or not peers:
        return 0.0
    return math.fsum(table[index][k] for k in peers) / len(peers)


def _support(claims: Sequence[Claim], others: Sequence[Claim], sigma_s: float) -> float:
    if not claims:
        return 0.0
    best = [max((agreement(claim, other, sigma_s) for other in others), default=0.0) for claim in claims]
    return math.fsum(best) / len(best)
