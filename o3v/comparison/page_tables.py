"""The tables of the page: findings, numbers, differences, and what did not finish."""

from __future__ import annotations

import math

from o3v.comparison.differences import Difference
from o3v.comparison.markup import Content, Markup, element
from o3v.comparison.report import Report
from o3v.comparison.svg import forest
from o3v.comparison.tables import BenchmarkTable, Cell
from o3v.comparison.words import (
    ABSENT,
    counted,
    difference_text,
    interval_text,
    kinds_text,
    number,
    p_text,
    scale_of,
    sizes_text,
)

_TONES = {"better": "good", "worse": "bad"}
_SIGNS = {"better": "▲", "worse": "▼"}
_ABOUT = "Times 100, rewards as they are. Below each number the paired difference to the baseline and its interval."


def findings_section(report: Report) -> Content:
    """Every difference that is shown, in words, and how many are not."""
    shown, tested = [], 0
    for table in report.tables:
        for metric in table.metrics:
            for arm, cells in table.arms.items():
                found = cells[metric].difference if metric in cells else None
                if found is None:
                    continue
                tested += 1
                if found.verdict in _TONES:
                    shown.append(_finding(table, metric, arm, found))
    if not tested:
        return [element("h2", "Findings"), element("p", "No difference to the baseline can be computed yet.")]
    rest = tested - len(shown)
    of = f"{len(shown) or 'None'} of {counted(tested, 'difference')} to {report.baseline}"
    told = f"{of} can be told from chance."
    told += f" For the other {rest}, no difference is shown." if shown and rest else ""
    content = [element("h2", "Findings"), element("p", told)]
    return [*content, element("ul", shown, class_="findings card")] if shown else content


def _finding(table: BenchmarkTable, metric: str, arm: str, found: Difference) -> Markup:
    tag = element("span", f"{_SIGNS[found.verdict]} {found.verdict}", class_=f"tag {_TONES[found.verdict]}")
    words = element(
        "span", [element("b", arm), f" than {table.baseline} on ", element("b", metric), f", {table.benchmark}"]
    )
    return element("li", [tag, words, element("span", difference_text(metric, found), class_="small")])


def benchmark_section(report: Report, table: BenchmarkTable) -> Content:
    """Numbers, differences as intervals, and every figure of the tests."""
    charts = [(metric, forest(table, metric)) for metric in table.metrics]
    figures = [
        element("figure", [element("h4", metric), chart], class_="card")
        for metric, chart in charts
        if chart is not None
    ]
    told = [kinds_text(table), *_sizes(table), *table.notes]
    parts: list[Content] = [
        element("h2", f"Numbers on {table.benchmark}"),
        element("p", _ABOUT, class_="note"),
        _box(_numbers(report, table)),
        element("ul", [element("li", line) for line in told if line], class_="notes"),
    ]
    if figures:
        parts += [
            element("h3", f"Differences to {table.baseline}, with 95 % intervals over seeds and videos"),
            element("p", "A filled mark is a difference that is shown; a hollow one is not.", class_="note"),
            element("div", figures, class_="grid-charts"),
            element("details", [element("summary", "All figures of the tests"), _box(_differences(table))]),
        ]
    return parts


def unfinished_section(report: Report) -> Content:
    """What has no result, or that everything has; and what else has to be known."""
    if not report.unfinished:
        content: list[Content] = [element("h2", "Not finished"), element("p", "Every run of the study has finished.")]
    else:
        head = element(
            "tr", [element("th", name, class_="left") for name in ("Stage", "Arms", "Seeds", "State", "Known", "Run")]
        )
        rows = [
            element(
                "tr",
                [
                    element("th", one.stage),
                    *(
                        element("td", text, class_="left")
                        for text in (", ".join(one.arms), ", ".join(map(str, one.seeds)))
                    ),
                    element(
                        "td",
                        element("span", one.state, class_="tag bad" if one.state == "failed" else "tag"),
                        class_="left",
                    ),
                    element("td", one.told or ABSENT, class_="wrapped"),
                    element("td", element("code", one.key), class_="left"),
                ],
            )
            for one in report.unfinished
        ]
        told = "These runs are missing from everything above."
        content = [element("h2", "Not finished"), element("p", told), _box(_table(head, [element("tbody", rows)]))]
    notes = [element("li", note) for note in report.notes]
    return [*content, element("ul", notes, class_="notes")] if notes else content


def _numbers(report: Report, table: BenchmarkTable) -> Markup:
    head = element(
        "tr", [element("th", ""), *(element("th", metric) for metric in table.metrics), element("th", "seeds")]
    )
    colours = {arm: index for index, arm in enumerate(report.arms)}
    rows = [_arm_row(table, arm, colours[arm]) for arm in table.arms]
    bodies = [element("tbody", rows, data_sorted=True)]
    width = len(table.metrics) + 2
    if table.trivial:
        lines = [
            _aside(name, [number(m, found[m].value) if m in found else ABSENT for m in table.metrics])
            for name, found in table.trivial.items()
        ]
        bodies.append(element("tbody", [_group("Trivial answers, no model", width), *lines]))
    if table.published:
        lines = [
            _aside(arm, [f"{figures[m]:g}" if m in figures else ABSENT for m in table.metrics])
            for arm, figures in table.published.items()
        ]
        bodies.append(element("tbody", [_group("Published figures", width), *lines]))
    return _table(head, bodies, "sortable")


def _arm_row(table: BenchmarkTable, arm: str, colour: int) -> Markup:
    cells = table.arms[arm]
    name = [element("i", class_=f"key c{colour % 8}"), arm]
    tag = [element("span", "baseline", class_="delta")] if arm == table.baseline else []
    seeds = max((cell.seeds for cell in cells.values()), default=0)
    numbers = [_number_cell(metric, cells.get(metric)) for metric in table.metrics]
    return element("tr", [element("th", [*name, *tag], title=arm), *numbers, element("td", str(seeds), data_v=seeds)])


def _number_cell(metric: str, cell: Cell | None) -> Markup:
    if cell is None:
        return element("td", ABSENT, data_v="")
    half = number(metric, (cell.mean.high - cell.mean.low) / 2)
    parts: list[Content] = [number(metric, cell.mean.value)]
    if half != ABSENT:
        parts.append(element("span", f" ± {half}", class_="pm"))
    found = cell.difference
    tone = _TONES.get(found.verdict) if found is not None else None
    if found is not None:
        sign = f"{_SIGNS[found.verdict]} " if tone else ""
        change = element("span", f"{sign}{number(metric, found.spread.value, '+')}", class_=tone)
        parts.append(element("span", change, class_="delta", title=found.verdict))
        parts.append(element("span", interval_text(metric, found.spread.low, found.spread.high), class_="delta ci"))
    value = cell.mean.value
    return element(
        "td", parts, data_v=repr(value) if math.isfinite(value) else "", class_=f"is-{tone}" if tone else None
    )


def _differences(table: BenchmarkTable) -> Markup:
    names = (
        "arm",
        "metric",
        "difference",
        "95 % interval",
        "p",
        "p (Holm)",
        "verdict",
        "p of the interval",
        "p by exchange",
    )
    head = element("tr", [*(element("th", name) for name in names), element("th", "rests on", class_="left")])
    rows = []
    for metric in table.metrics:
        for arm, cells in table.arms.items():
            if metric in cells and cells[metric].difference is not None:
                rows.append(_difference_row(arm, metric, cells[metric]))
    return _table(head, [element("tbody", rows, data_sorted=True)], "sortable")


def _difference_row(arm: str, metric: str, cell: Cell) -> Markup:
    found = cell.difference
    if found is None:
        return Markup("")
    spread = found.spread
    numbers = (
        (spread.value, number(metric, spread.value, "+")),
        (spread.low, interval_text(metric, spread.low, spread.high)),
    )
    later = (found.p, found.p_holm)
    told = f"{counted(found.questions, 'question')}, {counted(found.videos, 'video')}, {counted(found.seeds, 'seed')}"
    return element(
        "tr",
        [
            element("th", arm),
            element("td", metric),
            *(element("td", text, data_v=_sort(value * scale_of(metric)[0])) for value, text in numbers),
            *(element("td", p_text(p), data_v=_sort(p)) for p in later),
            element("td", element("span", found.verdict, class_=f"tag {_TONES.get(found.verdict, '')}".strip())),
            *(element("td", p_text(p), data_v=_sort(p)) for p in (spread.p, found.p_exchange)),
            element("td", told, class_="left"),
        ],
    )


def _sizes(table: BenchmarkTable) -> list[str]:
    """What the baseline's numbers rest on, metric by metric where they differ."""
    cells = table.arms.get(table.baseline) or next((found for found in table.arms.values() if found), {})
    groups: dict[str, list[str]] = {}
    for metric, cell in cells.items():
        groups.setdefault(sizes_text(cell), []).append(metric)
    return [f"{', '.join(metrics)}: {told}" for told, metrics in groups.items()]


def _aside(name: str, cells: list[str]) -> Markup:
    return element("tr", [element("th", name), *(element("td", cell) for cell in [*cells, ""])], class_="aside")


def _group(name: str, width: int) -> Markup:
    return element("tr", [element("th", name), element("td", "", colspan=width - 1)], class_="group")


def _table(head: Markup, bodies: list[Markup], kind: str | None = None) -> Markup:
    return element("table", [element("thead", head), *bodies], class_=kind)


def _box(table: Markup) -> Markup:
    return element("div", table, class_="scroll card", tabindex=0)


def _sort(value: float) -> str:
    return repr(value) if math.isfinite(value) else ""
