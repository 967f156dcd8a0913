"""Charts as SVG that take their colours from the page: intervals around zero, and curves by step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from o3v.comparison.curves import Chart, Line
from o3v.comparison.markup import Content, Markup, element
from o3v.comparison.tables import BenchmarkTable
from o3v.comparison.words import difference_text, scale_of

WIDTH = 340
_ROW, _TOP, _LEFT, _RIGHT = 26, 8, 118, 14
_PLOT_HEIGHT, _PLOT_LEFT, _PLOT_BOTTOM = 132, 46, 22
_LABEL_CHARS = 16

Axis = Callable[[float], float]
"""A value -> its place in the picture."""


def forest(table: BenchmarkTable, metric: str) -> Markup | None:
    """Differences of every arm to the baseline with their intervals on one axis; None where there is none.

    A filled mark is a difference that is shown, a hollow one is not.
    """
    found = {arm: cells[metric].difference for arm, cells in table.arms.items() if metric in cells}
    rows = {arm: one for arm, one in found.items() if one is not None}
    if not rows:
        return None
    factor, _ = scale_of(metric)
    ends = [factor * v for one in rows.values() for v in (one.spread.low, one.spread.high, one.spread.value)]
    low, high = padded(min([0.0, *_finite(ends)]), max([0.0, *_finite(ends)]))
    ticks = nice_ticks(low, high, 5)
    height = _TOP + len(rows) * _ROW + 24
    x = _axis(low, high, _LEFT, WIDTH - _RIGHT)
    parts: list[Content] = [_vertical(x(tick), height - 22, "zero" if tick == 0 else "grid") for tick in ticks]
    parts += [_text(x(tick), height - 6, tick_text(tick, ticks), "tick mid") for tick in ticks]
    for index, (arm, one) in enumerate(rows.items()):
        y = _TOP + index * _ROW + _ROW / 2
        values = factor * one.spread.value, factor * one.spread.low, factor * one.spread.high
        kind = {"better": "good", "worse": "bad"}.get(one.verdict, "open")
        told = f"{arm}: {difference_text(metric, one)}, {one.verdict}"
        parts.append(_text(_LEFT - 10, y + 4, shortened(arm), "label end"))
        parts.append(element("g", [element("title", told), *_mark(x, y, values)], class_=f"mark {kind}"))
    return _svg(height, f"{metric}: differences to {table.baseline}", parts)


def plot(chart: Chart, colours: Mapping[str, int]) -> Markup:
    """Lines of a chart by step, each with the range of its seeds.

    Args:
        chart: what to draw.
        colours: arm -> number of its colour; a line of several arms has that of the first, one of all arms none.
    """
    values = [v for line in chart.lines for row in (line.low, line.high) for v in row]
    low, high = padded(min(values), max(values))
    y_ticks = nice_ticks(low, high, 4)
    steps = [step for line in chart.lines for step in line.steps]
    last = max(max(steps), 1.0)
    x_ticks = nice_ticks(0.0, last, 4)
    bottom = _TOP + _PLOT_HEIGHT
    x = _axis(0.0, last, _PLOT_LEFT, WIDTH - _RIGHT)
    y = _axis(low, high, bottom, _TOP)
    parts: list[Content] = []
    for tick in y_ticks:
        parts.append(element("line", x1=_PLOT_LEFT, x2=WIDTH - _RIGHT, y1=_n(y(tick)), y2=_n(y(tick)), class_="grid"))
        parts.append(_text(_PLOT_LEFT - 6, y(tick) + 4, tick_text(tick, y_ticks), "tick end"))
    parts += [_text(x(tick), bottom + 16, tick_text(tick, x_ticks), "tick mid") for tick in x_ticks]
    for line in chart.lines:
        parts.append(_line(line, colour_of(line, colours), x, y))
    return _svg(bottom + _PLOT_BOTTOM, f"{chart.metric} by step", parts)


def colour_of(line: Line, colours: Mapping[str, int]) -> str:
    """Class of a line's colour."""
    shared = len(line.arms) == len(colours) and len(colours) > 1
    return "call" if shared else f"c{colours[line.arms[0]] % 8}"


def padded(low: float, high: float) -> tuple[float, float]:
    """A range with some air at both ends; one number becomes a range around it.

    >>> padded(0.0, 100.0), padded(2.0, 2.0)
    ((-5.0, 105.0), (1.0, 3.0))
    """
    if high - low <= 1e-12 * max(abs(low), abs(high), 1e-300):
        around = abs(low) / 2 or 1.0
        return low - around, high + around
    return low - 0.05 * (high - low), high + 0.05 * (high - low)


def nice_ticks(low: float, high: float, count: int) -> list[float]:
    """Round numbers between low and high, about `count` of them.

    >>> nice_ticks(-1.3, 4.2, 4), nice_ticks(0.0, 35.0, 4), nice_ticks(0.012, 0.018, 4)
    ([0.0, 2.0, 4.0], [0.0, 10.0, 20.0, 30.0], [0.012, 0.014, 0.016, 0.018])
    """
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(size * power for size in (1, 2, 5, 10) if size * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{index * step:.12g}") for index in range(first, last + 1)]


def tick_text(tick: float, ticks: Sequence[float]) -> str:
    """A tick with as many digits as its neighbours need.

    >>> tick_text(0.5, [0.0, 0.5, 1.0]), tick_text(2000.0, [0.0, 2000.0]), tick_text(0.002, [0.0, 0.002])
    ('0.5', '2000', '0.002')
    """
    if len(ticks) < 2:
        return f"{tick:g}"
    step = abs(ticks[1] - ticks[0])
    if step < 1e-5:
        return f"{tick:.1e}" if tick else "0"
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"{tick + 0.0:.{digits}f}"


def shortened(name: str) -> str:
    """A name that fits beside a chart.

    >>> shortened("fixed_sigma_4_no_gate")
    'fixed_sigma_4_n…'
    """
    return name if len(name) <= _LABEL_CHARS else f"{name[: _LABEL_CHARS - 1]}…"


def _line(line: Line, colour: str, x: Axis, y: Axis) -> Markup:
    points = [f"{_n(x(s))},{_n(y(v))}" for s, v in zip(line.steps, line.mean, strict=True)]
    upper = [f"{_n(x(s))},{_n(y(v))}" for s, v in zip(line.steps, line.high, strict=True)]
    lower = [f"{_n(x(s))},{_n(y(v))}" for s, v in zip(line.steps, line.low, strict=True)]
    parts: list[Content] = [element("title", f"{', '.join(line.arms)}: mean of {line.seeds}")]
    if line.seeds > 1:
        parts.append(element("polygon", points=" ".join([*upper, *reversed(lower)]), class_="band"))
    if len(points) == 1:
        px, py = points[0].split(",")
        parts.append(element("circle", cx=px, cy=py, r=2.5, class_="dot"))
    else:
        parts.append(element("path", d="M" + "L".join(points), class_="curve"))
    return element("g", parts, class_=f"series {colour}")


def _mark(x: Axis, y: float, values: tuple[float, float, float]) -> list[Markup]:
    mean, low, high = values
    parts = []
    if math.isfinite(low):
        parts.append(element("line", x1=_n(x(low)), x2=_n(x(high)), y1=_n(y), y2=_n(y), class_="bar"))
    return [*parts, element("circle", cx=_n(x(mean)), cy=_n(y), r=4.5, class_="dot")]


def _axis(low: float, high: float, start: float, end: float) -> Axis:
    span = (high - low) or 1.0

    def at(value: float) -> float:
        return start + (value - low) / span * (end - start)

    return at


def _vertical(x: float, bottom: float, kind: str) -> Markup:
    return element("line", x1=_n(x), x2=_n(x), y1=_TOP - 4, y2=_n(bottom), class_=kind)


def _text(x: float, y: float, text: str, kind: str) -> Markup:
    return element("text", text, x=_n(x), y=_n(y), class_=kind)


def _svg(height: float, label: str, parts: Content) -> Markup:
    return element("svg", parts, viewBox=f"0 0 {WIDTH} {_n(height)}", role="img", aria_label=label)


def _finite(values: Sequence[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
