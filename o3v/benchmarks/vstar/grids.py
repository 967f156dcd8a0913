"""V-STaR's tables as a reader wants them: groups below each other, and the two chains side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from o3v.benchmarks.report import Grid
from o3v.benchmarks.statistics import Estimate
from o3v.benchmarks.vstar.aggregate import CHAINS, OVERALL
from o3v.benchmarks.vstar.annotations import LENGTHS

Estimates = Mapping[str, Estimate]

NUMBERS = ("acc", "chain1/tiou", "chain2/tiou", "chain1/viou", "chain2/viou", "mAM", "mLGM")
"""The columns of V-STaR's and Open-o3 Video's main tables."""


def grids(estimates: Estimates) -> list[Grid]:
    """The main numbers by group, and all numbers of the chains; x 100, with half the 95 % interval.

    Args:
        estimates: name -> estimate, as `VStar.summary` gives them.
    """
    return [_by_group(estimates), _by_chain(estimates)]


def group_names(estimates: Estimates) -> list[str]:
    """The overall group, then lengths from short to long, then domains by name.

    >>> group_names(dict.fromkeys(["acc@domain=Shows", "acc", "acc@length=Long", "acc@length=Short"]))
    ['', 'length=Short', 'length=Long', 'domain=Shows']
    """
    found = {name.partition("@")[2] for name in estimates if name.startswith("coverage@") or name.startswith("acc@")}
    lengths = [f"length={name}" for name in LENGTHS if f"length={name}" in found]
    return [OVERALL, *lengths, *sorted(found - {*lengths, OVERALL})]


def _by_group(estimates: Estimates) -> Grid:
    rows = []
    for group in group_names(estimates):
        suffix = f"@{group}" if group else ""
        cells = [_text(estimates.get(name + suffix)) for name in NUMBERS]
        items = estimates.get(f"coverage{suffix}")
        rows.append((group.partition("=")[2] or "all", *cells, str(items.n if items else 0)))
    return Grid(
        "By length of the video and by domain x 100 (± half the 95 % interval)", ("", *NUMBERS, "items"), (*rows,)
    )


def _by_chain(estimates: Estimates) -> Grid:
    prefix = f"chain{CHAINS[0]}/"
    names = [name.removeprefix(prefix) for name in estimates if name.startswith(prefix) and "@length" not in name]
    rows: Sequence[tuple[str, ...]] = [
        (name, *(_text(estimates.get(f"chain{chain}/{name}")) for chain in CHAINS))
        for name in names
        if "@domain" not in name
    ]
    header = ("", "chain 1: what, when, where", "chain 2: what, where, when")
    return Grid("The two chains x 100 (± half the 95 % interval)", header, tuple(rows))


def _text(estimate: Estimate | None) -> str:
    if estimate is None or math.isnan(estimate.value):
        return "-"
    half = (estimate.high - estimate.low) / 2
    return f"{100 * estimate.value:.1f}" + ("" if math.isnan(half) else f" ± {100 * half:.1f}")
