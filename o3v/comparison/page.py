"""A report as one HTML file: opens without a network, in light and dark, on a desk and on a phone, also without script.

Style, script, charts and pictures are inside the file. Its content security policy allows nothing else: no request, and
no script or style but the two whose hashes it names.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from o3v.comparison.markup import Content, Markup, element, escape
from o3v.comparison.page_examples import examples_section
from o3v.comparison.page_tables import benchmark_section, findings_section, unfinished_section
from o3v.comparison.report import Report
from o3v.comparison.svg import colour_of, plot
from o3v.comparison.words import counted

_ASSETS = Path(__file__).parent / "assets"

_HOW_TO_READ = (
    (
        "Mean ± half of a 95 % interval",
        "The benchmark's own number of every seed, averaged. The interval is Student's over seeds: where the mean of "
        "further seeds on the same questions would lie. With one run it is over questions, clustered by video, and the "
        "notes say so.",
    ),
    (
        "Difference to the baseline",
        "Paired: the same questions, seed by seed. Its interval covers other seeds and other videos (two-way random "
        "effects on video-wise pseudo-values, degrees of freedom after Hillis 2007; never narrower than clustered by "
        "video alone).",
    ),
    (
        "p and p (Holm)",
        "The larger of the p of that interval and of an exchange test that swaps the two arms video by video; adjusted "
        "for the number of arms by Holm's method, for each metric alone. Over many metrics some will still fall below "
        "0.05.",
    ),
    (
        "Better, worse, no difference shown",
        "Better or worse only where the interval excludes zero and p (Holm) is at most 0.05. No difference shown does "
        "not mean that there is none.",
    ),
    (
        "Trivial answers and published figures",
        "Trivial answers need no model (whole video, full frame, most frequent letter). Published figures are printed "
        "as their papers have them; they come from other frames, prompts and parsers, and enter no statistic here.",
    ),
    (
        "Curves",
        "Line: mean of the seeds. Band: smallest to largest seed. Long runs are averaged in bins of equal width.",
    ),
)


def page_of(report: Report) -> str:
    """The whole file."""
    style, script = ((_ASSETS / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    head = [
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content_=policy),
        element("meta", name="viewport", content_="width=device-width, initial-scale=1"),
        element("meta", name="referrer", content_="no-referrer"),
        element("meta", name="color-scheme", content_="light dark"),
        element("title", f"{report.title}: {report.name}"),
        element("style", Markup(style)),
    ]
    body = [element("div", _body(report), class_="wrap"), element("script", Markup(script))]
    return f'<!doctype html>\n<html lang="en"><head>{"".join(head)}</head><body>{"".join(body)}</body></html>\n'


def _body(report: Report) -> Content:
    sections = {
        "findings": ("Findings", findings_section(report)),
        "numbers": ("Numbers", [_benchmarks(report)]),
        "curves": ("Curves", _curves(report)),
        "examples": ("Same questions", examples_section(report)),
        "unfinished": ("Not finished", unfinished_section(report)),
        "reading": ("How to read this", _reading()),
    }
    there = {name: found for name, found in sections.items() if found[1]}
    links = [element("a", title, href=f"#{name}") for name, (title, _) in there.items()]
    parts = [element("section", content, id=name) for name, (_, content) in there.items()]
    return [_header(report), element("nav", links), *parts, _footer(report)]


def _header(report: Report) -> Markup:
    finished, total = report.states.get("finished", 0), sum(report.states.values())
    seeds = ", ".join(map(str, report.seeds))
    facts = (
        ("Arms", str(len(report.arms))),
        ("Seeds", seeds),
        ("Compared with", report.baseline),
        ("Runs finished", f"{finished} of {total}"),
    )
    return element(
        "header",
        [
            element("p", f"Study {report.name}", class_="over"),
            element("h1", report.title),
            element("p", report.question, class_="lead"),
            element("dl", [element("div", [element("dt", k), element("dd", v)]) for k, v in facts], class_="facts"),
        ],
    )


def _benchmarks(report: Report) -> Markup:
    parts = [
        element("div", benchmark_section(report, table), data_tab=table.benchmark, id=f"benchmark-{index}")
        for index, table in enumerate(report.tables)
    ]
    return element("div", parts or [element("p", "No evaluation has finished yet.")], data_tabs=True)


def _curves(report: Report) -> Content:
    if not report.charts:
        return None
    colours = {arm: index for index, arm in enumerate(report.arms)}
    groups = []
    for stage in dict.fromkeys(chart.stage for chart in report.charts):
        charts = [chart for chart in report.charts if chart.stage == stage]
        lines = {line.arms: colour_of(line, colours) for chart in charts for line in chart.lines}
        legend = [
            element("li", [element("i", class_="key"), element("span", _line_name(arms, report))], class_=colour)
            for arms, colour in lines.items()
        ]
        figures = [
            element("figure", [element("h4", chart.metric.removeprefix("train/")), plot(chart, colours)], class_="card")
            for chart in charts
        ]
        told = _curve_note(max(chart.bin_steps for chart in charts), [n.seeds for c in charts for n in c.lines])
        content = [element("ul", legend, class_="legend"), element("div", figures, class_="grid-charts")]
        groups.append(element("div", [*content, element("p", told, class_="note")], data_tab=f"stage {stage}"))
    return [element("h2", "Training curves"), element("div", groups, data_tabs=True)]


def _line_name(arms: tuple[str, ...], report: Report) -> str:
    if len(arms) == len(report.arms) > 1:
        return "all arms (the same runs)"
    return ", ".join(arms) if len(arms) == 1 else f"{', '.join(arms)} (the same runs)"


def _curve_note(bin_steps: int, seeds: list[int]) -> str:
    counts = sorted(set(seeds))
    told = counted(counts[0], "seed") if len(counts) == 1 else f"{counts[0]} to {counts[-1]} seeds"
    bins = f" A point averages up to {bin_steps} steps." if bin_steps > 1 else ""
    return f"By step. Line: mean of {told}; band: smallest to largest seed.{bins}"


def _reading() -> Content:
    rows = [part for name, text in _HOW_TO_READ for part in (element("dt", name), element("dd", text))]
    return [element("h2", "How to read this"), element("dl", rows, class_="read")]


def _footer(report: Report) -> Markup:
    return element("footer", [element("code", report.command), f" Read from {report.source}."])


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return escape(f"'sha256-{digest}'").replace("&#x27;", "'")
