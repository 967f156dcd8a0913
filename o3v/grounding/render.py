"""Writes the evidence grammar: the inverse of `o3v.grounding.parse`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from o3v.grounding.parse import BOX_PATTERN, OPTION_MARK, read_numbers
from o3v.types import Box, BoxScale, Claim, Span


def render_box(numbers: Sequence[float]) -> str:
    """A box tag: integers as they are (models), other numbers with up to 4 decimals (normalised boxes).

    >>> render_box((12, 30, 68, 90)), render_box((0.5, 0.25, 1.0, 0.33333))
    ('<box>[12,30,68,90]</box>', '<box>[0.5,0.25,1,0.3333]</box>')
    """
    return f"<box>[{','.join(_plain(number) for number in numbers)}]</box>"


def render_claim(claim: Claim, scale: BoxScale) -> str:
    """A claim in the model's language, boxes in its integers.

    >>> render_claim(Claim("cat", ((0.1, 0.0, 0.2, 0.5),), 3.5), BoxScale(100, 100))
    '<obj>cat</obj><box>[10,0,20,50]</box>at<t>3.5</t>s'
    """
    boxes = "".join(render_box(scale.to_model(box)) for box in claim.boxes)
    return f"<obj>{claim.name}</obj>{boxes}at<t>{render_time(claim.time_s)}</t>s"


def render_time(time_s: float) -> str:
    """Seconds with one to three decimals, as data sets and prompts write them.

    >>> render_time(3.0), render_time(1 / 3)
    ('3.0', '0.333')
    """
    text = f"{time_s:.3f}".rstrip("0")
    return f"{text}0" if text.endswith(".") else text


def render_span(span_s: Span, letter: str | None) -> str:
    r"""The answer of temporal tasks; with a letter, that of temporal multiple choice.

    >>> render_span((1.0, 4.25), "B")
    'From <t>1.0</t>s to <t>4.25</t>s\nCorrect Option: B'
    """
    sentence = f"From <t>{render_time(span_s[0])}</t>s to <t>{render_time(span_s[1])}</t>s"
    return sentence if letter is None else f"{sentence}\n{OPTION_MARK} {letter}"


def render_target(think: str, answer: str) -> str:
    r"""The assistant's whole turn.

    >>> render_target("I see a cat.", "B")
    '<think>I see a cat.</think>\n<answer>B</answer>'
    """
    return f"<think>{think}</think>\n<answer>{answer}</answer>"


def rewrite_boxes(text: str, fn: Callable[[Box], Sequence[float]]) -> str:
    """Maps every box of a text, for a change of units; what is no box of four numbers stays as it is.

    Args:
        text: with `<box>[x1,y1,x2,y2]</box>` in it.
        fn: from the four numbers read to the four written; integers are written without decimals.

    Example:
        >>> rewrite_boxes("the <obj>cat</obj><box>[0.1, 0, 0.2, 0.5]</box>", BoxScale(1000, 1000).to_model)
        'the <obj>cat</obj><box>[100,0,200,500]</box>'
    """

    def rewrite(match: re.Match[str]) -> str:
        box = read_numbers(match)
        return match.group(0) if box is None else render_box(fn(box))

    return BOX_PATTERN.sub(rewrite, text)


def _plain(number: float) -> str:
    if isinstance(number, int):
        return str(number)
    text = f"{number:.4f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
