"""A benchmark's table for a paper (booktabs) and for a spreadsheet (CSV)."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence

from o3v.comparison.report import Report
from o3v.comparison.tables import BenchmarkTable, Cell
from o3v.comparison.words import ABSENT, mean_text, number

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
}
_MARKS = {"better": r"$^{\uparrow}$", "worse": r"$^{\downarrow}$"}

CSV_HEADER = (
    "benchmark", "row", "name", "metric", "mean", "mean_low", "mean_high", "interval_covers", "seeds", "videos",
    "questions", "difference", "difference_low", "difference_high", "difference_se", "difference_df", "p_interval",
    "p_exchange", "p", "p_holm", "verdict",
)  # fmt: skip
"""Numbers are fractions, in full precision, except published figures, which are as printed (percent)."""


def escape(text: str) -> str:
    r"""Any text as LaTeX that prints it; line breaks and other control characters become blanks.

    >>> print(escape("no_gate & 5%"), escape("a\\b"))
    no\_gate \& 5\% a\textbackslash{}b
    """
    return "".join(_ESCAPES.get(char, char if char.isprintable() else " ") for char in text)


def latex(report: Report) -> str:
    """One `table` a benchmark; the document needs the package booktabs."""
    return "\n".join(_table(report, table) for table in report.tables)


def csv_text(report: Report) -> str:
    """One line a row and metric, everything that is known of it; absent numbers are empty.

    A cell that a spreadsheet would take for a formula gets an apostrophe in front.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(CSV_HEADER)
    for table in report.tables:
        for line in _csv_lines(table):
            writer.writerow([_csv_cell(value) for value in line])
    return buffer.getvalue()


def _table(report: Report, table: BenchmarkTable) -> str:
    rows = [_arm_row(table, arm) for arm in table.arms]
    trivial = [
        [escape(name), *(number(m, found[m].value) if m in found else "--" for m in table.metrics)]
        for name, found in table.trivial.items()
    ]
    published = [
        [escape(f"{arm} (published)"), *(f"{figures[m]:g}" if m in figures else "--" for m in table.metrics)]
        for arm, figures in table.published.items()
    ]
    body = [r"\midrule".join(["", *(_lines(part) for part in (rows, trivial, published) if part)])]
    caption = (
        f"{escape(report.title)}: {escape(table.benchmark)}, times 100 (rewards as they are), mean over seeds with a "
        rf"95\,\% interval. Arrows: better or worse than {escape(table.baseline)} (paired, interval excludes 0 and "
        r"Holm-adjusted $p \le 0.05$)."
    )
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{caption}}}",
            rf"\begin{{tabular}}{{l{'r' * len(table.metrics)}}}",
            r"\toprule",
            " & ".join(["", *(escape(metric) for metric in table.metrics)]) + r" \\",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _lines(rows: Sequence[Sequence[str]]) -> str:
    return "\n" + "".join(" & ".join(row) + " \\\\\n" for row in rows)


def _arm_row(table: BenchmarkTable, arm: str) -> list[str]:
    return [escape(arm), *(_latex_cell(metric, table.arms[arm].get(metric)) for metric in table.metrics)]


def _latex_cell(metric: str, cell: Cell | None) -> str:
    if cell is None:
        return "--"
    mark = _MARKS.get(cell.difference.verdict, "") if cell.difference else ""
    text = mean_text(metric, cell.mean)
    return "--" if text == ABSENT else escape(text) + mark


def _csv_lines(table: BenchmarkTable) -> list[list[object]]:
    lines: list[list[object]] = []
    for arm, cells in table.arms.items():
        lines += [_csv_arm(table.benchmark, arm, metric, cells[metric]) for metric in table.metrics if metric in cells]
    for name, found in table.trivial.items():
        lines += [
            [table.benchmark, "trivial", name, metric, one.value, one.low, one.high, "videos"]
            for metric, one in found.items()
        ]
    for arm, figures in table.published.items():
        lines += [[table.benchmark, "published", arm, metric, value] for metric, value in figures.items()]
    return [line + [""] * (len(CSV_HEADER) - len(line)) for line in lines]


def _csv_arm(benchmark: str, arm: str, metric: str, cell: Cell) -> list[object]:
    mean, found = cell.mean, cell.difference
    line: list[object] = [benchmark, "arm", arm, metric, mean.value, mean.low, mean.high, mean.kind]
    line += [cell.seeds, cell.videos, cell.questions]
    if found is None:
        return line
    spread = found.spread
    line += [spread.value, spread.low, spread.high, spread.se, spread.df, spread.p]
    return [*line, found.p_exchange, found.p, found.p_holm, found.verdict]


def _csv_cell(value: object) -> object:
    if isinstance(value, float):
        return "" if math.isnan(value) else repr(value)
    return f"'{value}" if isinstance(value, str) and value[:1] in set("=+-@\t\r") else value
