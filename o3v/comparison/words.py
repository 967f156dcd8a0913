"""Numbers as a reader sees them: fractions times 100, rewards as they are; one wording for terminal, files and page."""

from __future__ import annotations

import math

from o3v.comparison.differences import Difference
from o3v.comparison.tables import BenchmarkTable, Cell
from o3v.comparison.twoway import Spread

ABSENT = "-"


def scale_of(metric: str) -> tuple[float, int]:
    """Factor and digits of a metric.

    >>> scale_of("reward/total"), scale_of("mAM")
    ((1.0, 3), (100.0, 1))
    """
    return (1.0, 3) if metric.startswith("reward/") else (100.0, 1)


def number(metric: str, value: float, sign: str = "") -> str:
    """A metric's value.

    >>> number("acc", 0.30469), number("acc", -0.0001, "+"), number("reward/total", 2.6512), number("acc", math.nan)
    ('30.5', '+0.0', '2.651', '-')
    """
    factor, digits = scale_of(metric)
    if not math.isfinite(value):
        return ABSENT
    return f"{round(factor * value, digits) + 0.0:{sign}.{digits}f}"


def mean_text(metric: str, spread: Spread) -> str:
    """A mean with half its interval, where it has one.

    >>> mean_text("acc", Spread(0.3, 0.25, 0.35, 0.02, 2, 0.0, "seeds"))
    '30.0 ± 5.0'
    """
    half = number(metric, (spread.high - spread.low) / 2)
    value = number(metric, spread.value)
    return value if half == ABSENT else f"{value} ± {half}"


def interval_text(metric: str, low: float, high: float) -> str:
    """An interval with signs, to be read from left to right.

    >>> interval_text("acc", -0.012, 0.03)
    '-1.2 to +3.0'
    """
    if math.isnan(low):
        return ABSENT
    return f"{number(metric, low, '+')} to {number(metric, high, '+')}"


def p_text(p: float) -> str:
    """A p-value.

    >>> p_text(0.04321), p_text(0.00001), p_text(1.0), p_text(math.nan)
    ('0.043', '<0.001', '1', '-')
    """
    if math.isnan(p):
        return ABSENT
    return "<0.001" if p < 0.001 else f"{p:.2g}"


def difference_text(metric: str, difference: Difference) -> str:
    """A difference with its interval."""
    value = number(metric, difference.spread.value, "+")
    return f"{value} [{interval_text(metric, difference.spread.low, difference.spread.high)}]"


def counted(n: int, one: str) -> str:
    """A number with its noun.

    >>> counted(1, "seed"), counted(3, "seed")
    ('1 seed', '3 seeds')
    """
    return f"{n} {one}" if n == 1 else f"{n} {one}s"


def sizes_text(cell: Cell) -> str:
    """What a cell rests on, for example `768 questions, 512 videos, 3 seeds`."""
    parts = (counted(cell.questions, "question"), counted(cell.videos, "video"), counted(cell.seeds, "seed"))
    return ", ".join(parts)


def kinds_text(table: BenchmarkTable) -> str:
    """What the ± of a table's means is, arm by arm where they differ."""
    words = {
        "seeds": "95 % interval over seeds (Student's t)",
        "videos": "95 % interval over questions, clustered by video, because there is one run",
        "none": "no interval: one run on one video",
    }
    kinds: dict[str, list[str]] = {}
    for arm, cells in table.arms.items():
        for kind in dict.fromkeys(cell.mean.kind for cell in cells.values()):
            kinds.setdefault(kind, []).append(arm)
    if len(kinds) <= 1:
        return "".join(f"± is the {words[kind]}" for kind in kinds if kind in words)
    return "; ".join(f"± of {', '.join(arms)} is the {words[kind]}" for kind, arms in kinds.items() if kind in words)
