"""The same questions side by side, as cards of the page."""

from __future__ import annotations

import base64
import re

from o3v.comparison.examples import Answered, Example
from o3v.comparison.markup import Content, Markup, element
from o3v.comparison.report import Report
from o3v.comparison.words import scale_of

MAX_TEXT = 4000
"""Characters of an answer that are shown."""


def examples_section(report: Report) -> Content:
    """Cards, by benchmark; nothing where no example was chosen."""
    if not report.examples:
        return None
    colours = {arm: index for index, arm in enumerate(report.arms)}
    groups = []
    for name in dict.fromkeys(example.benchmark for example in report.examples):
        cards = [_card(example, colours) for example in report.examples if example.benchmark == name]
        groups.append(element("div", cards, data_tab=name))
    told = "What every arm answered to the same question. Boxes of the model are solid, annotated ones dashed."
    return [element("h2", "The same questions"), element("p", told), element("div", groups, data_tabs=True)]


def _card(example: Example, colours: dict[str, int]) -> Markup:
    parts: list[Content] = [
        element("h3", _plain(example.question) or example.id),
        element(
            "p",
            f"{example.task}. {example.why[:1].upper()}{example.why[1:]}. Seed {example.seed}, {example.id}",
            class_="small",
        ),
    ]
    if example.truth:
        parts.append(element("p", [element("span", "Annotated: ", class_="small"), example.truth]))
    answers = [_answer(arm, answered, colours[arm]) for arm, answered in example.answers.items()]
    return element("article", [*parts, element("div", answers, class_="answers", tabindex=0)], class_="example card")


def _answer(arm: str, answered: Answered, colour: int) -> Markup:
    name = element("h4", [element("i", class_=f"key c{colour % 8}"), element("span", arm)])
    parts: list[Content] = [name]
    if answered.picture is not None:
        source = f"data:image/webp;base64,{base64.b64encode(answered.picture).decode()}"
        parts.append(element("img", src=source, alt=f"frames cited by {arm}", decoding="async"))
    if answered.told:
        parts.append(element("p", answered.told, class_="small"))
    if answered.error is not None:
        parts.append(element("p", f"Not answered: {answered.error}", class_="small"))
    text = answered.text if len(answered.text) <= MAX_TEXT else f"{answered.text[:MAX_TEXT]} ..."
    parts.append(element("pre", text or "(empty)", tabindex=0))
    scores = [element("span", [f"{key} ", element("b", _score(key, value))]) for key, value in answered.scores.items()]
    return element("div", [*parts, element("p", scores, class_="scores")], class_="answer")


def _score(key: str, value: float) -> str:
    return f"{value:.2f}" if scale_of(key)[0] == 1.0 else f"{value:.2f}".rstrip("0").rstrip(".")


def _plain(question: str) -> str:
    """A question without the place of its frames."""
    return re.sub(r"<\|[a-z_]+\|>", "", question).strip()
