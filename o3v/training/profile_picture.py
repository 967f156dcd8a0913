"""A step's sections as one picture: where the time goes, readable at a glance and in any browser."""

from __future__ import annotations

from collections.abc import Sequence

from o3v.comparison.markup import Content, Markup, element
from o3v.training.timeline import SectionRow

_WIDTH, _ROW, _TOP = 760, 24, 64
_LABEL, _BAR, _BAR_WIDTH = 16, 196, 300
_COLUMNS = ((560, "own s"), (622, "share"), (678, "calls"), (744, "total s"))
_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#1d2733}.end{text-anchor:end}.title{font-size:15px;font-weight:600}"
    ".small{font-size:11px;fill:#5b6775}.own{fill:#2f6fb3}.inner{fill:#c3d9ef}.paper{fill:#fff}.line{stroke:#e3e8ee}"
)


def section_picture(title: str, subtitle: str, rows: Sequence[SectionRow]) -> str:
    """SVG: one bar a section, dark for its own time and light for what lies inside it, with the numbers beside it.

    Args:
        title: first line.
        subtitle: second line: machine and settings.
        rows: sections in order; the longest total fills the width.
    """
    longest_s = max((row.total_s for row in rows), default=0.0) or 1.0
    parts: list[Content] = [
        element("style", Markup(_STYLE)),
        element("rect", width=_WIDTH, height=_height(rows), class_="paper"),
        _text(_LABEL, 24, title, "title"),
        _text(_LABEL, 44, subtitle, "small"),
        *(_text(x, _TOP - 4, name, "small end") for x, name in _COLUMNS),
    ]
    for number, row in enumerate(rows):
        parts += _bar(row, _TOP + number * _ROW, longest_s)
    size = {"width": _WIDTH, "height": _height(rows), "viewBox": f"0 0 {_WIDTH} {_height(rows)}"}
    return element("svg", parts, xmlns="http://www.w3.org/2000/svg", role="img", aria_label=title, **size) + "\n"


def _height(rows: Sequence[SectionRow]) -> int:
    return _TOP + len(rows) * _ROW + 14


def _bar(row: SectionRow, top: float, longest_s: float) -> list[Content]:
    depth, middle = len(row.path) - 1, top + 16
    own, total = (_BAR_WIDTH * seconds / longest_s for seconds in (row.own_s, row.total_s))
    numbers = (f"{row.own_s:.3f}", f"{100 * row.share:.1f} %", str(row.calls), f"{row.total_s:.3f}")
    return [
        element("line", x1=_LABEL, x2=_WIDTH - 16, y1=top, y2=top, class_="line"),
        _text(_LABEL + 14 * depth, middle, row.path[-1] if depth else "step (nothing named)", ""),
        element("rect", x=_BAR, y=top + 6, width=f"{total:.1f}", height=12, class_="inner"),
        element("rect", x=_BAR, y=top + 6, width=f"{own:.1f}", height=12, class_="own"),
        *(_text(x, middle, text, "end") for (x, _), text in zip(_COLUMNS, numbers, strict=True)),
    ]


def _text(x: float, y: float, text: str, kind: str) -> Markup:
    return element("text", text, x=x, y=y, class_=kind or None)
