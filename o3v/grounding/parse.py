"""Reads the evidence grammar: any text in, a `Completion` out, never an exception.

    <think> ... <obj>red ball</obj><box>[12,30,68,90]</box>at<t>3.0</t>s ... </think>
    <answer>From <t>2.0</t>s to <t>4.5</t>s
    Correct Option: B</answer>

A claim is an obj tag, one or more box tags, the word `at`, a t tag and `s`, with nothing in between. Its elements hold
no obj, box or t tag themselves, so an unclosed element spoils its own claim and never swallows the next one. All
patterns run in linear time: a text of any length and any malice costs no more than its length.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from o3v.types import Box, BoxScale, Claim, Completion, Span

ABSURD_COORDINATE: Final = 1e6
"""Coordinates beyond it (in the model's units) are noise: no frame is that large."""

ABSURD_TIME_S: Final = 1e6
"""Times beyond it (eleven days) are noise."""

_NUMBER = r"[0-9]+(?:\.[0-9]*)?"
_COORDINATE = rf"-?{_NUMBER}(?:[eE][+-]?[0-9]+)?"
_BOX_LIST = r"\[\s*" + r"\s*,\s*".join([rf"({_COORDINATE})"] * 4) + r"\s*\]"
# Any run of characters up to the next tag of the grammar; possessive, so a failed claim is not tried again.
_INSIDE = r"(?:(?!</?(?:obj|box|t)>).)*+"

BOX_PATTERN: Final = re.compile(rf"<box>\s*{_BOX_LIST}\s*</box>")
"""A box tag with four numbers, each a group."""

_BOX_TAG = re.compile(rf"<box>{_INSIDE}</box>", re.DOTALL)
_TIME = re.compile(rf"<t>\s*({_NUMBER})\s*</t>")
_SPAN = re.compile(rf"<t>\s*({_NUMBER})\s*</t>\s*s\s+to\s+<t>\s*({_NUMBER})\s*</t>\s*s")
_CLAIM = re.compile(
    rf"<obj>(?P<name>{_INSIDE})</obj>(?P<boxes>(?:<box>{_INSIDE}</box>)++)at(?P<time><t>{_INSIDE}</t>)s", re.DOTALL
)
_LETTER = re.compile(r"\(([A-Z])\)|\[([A-Z])\]|([A-Z])\.?")
OPTION_MARK: Final = "Correct Option:"


@dataclass(frozen=True)
class FoundClaim:
    """A place of a text that is a claim, or would be one if it could be read.

    Attributes:
        start, end: characters of the text, end excluded.
        claim: what it says; None where it cannot be read.
        fault: why not; "" for a claim.
    """

    start: int
    end: int
    claim: Claim | None
    fault: str


def parse_completion(text: str | None, scale: BoxScale) -> Completion:
    """Reads a model's text.

    Args:
        text: what the model wrote; None counts as the empty text.
        scale: the units in which it writes boxes; boxes come back normalised.

    Returns:
        A `Completion` whose every field is defined. Numbers that are not finite or absurdly large are not read. A
        claim with an unreadable box or time is no claim; its readable parts still count in `think_times_s` and
        `think_boxes`.

    Differs from the reference: a claim never runs over another claim's tags (reward_func.py:310), an answer inside
    the think block does not hide the one after it (:21-26), one bad number spoils only itself (:411-415).

    Example:
        >>> text = "<think><obj>cat</obj><box>[10,0,20,50]</box>at<t>3.5</t>s</think><answer>B</answer>"
        >>> done = parse_completion(text, BoxScale(100, 100))
        >>> done.claims[0].boxes, done.claims[0].time_s, done.answer_letter
        (((0.1, 0.0, 0.2, 0.5),), 3.5, 'B')
    """
    text = text or ""
    think = find_think(text)
    answer = find_answer(text)
    answer_boxes = read_boxes(answer or "", scale)
    return Completion(
        text=text,
        think=think,
        answer=answer,
        claims=read_claims(think or "", scale),
        think_times_s=read_times(think or ""),
        think_boxes=read_boxes(think or "", scale),
        answer_box=answer_boxes[0] if answer_boxes else None,
        answer_span_s=read_span(answer or ""),
        answer_letter=read_letter(answer or ""),
        box_scale=scale,
    )


def find_think(text: str) -> str | None:
    """Content of the first think block.

    >>> find_think("<think>a</think><think>b</think>"), find_think("<think>a")
    ('a', None)
    """
    return first_block(text, "think", 0)


def find_answer(text: str) -> str | None:
    """Content of the first answer block after the first closing think tag, else of the first one; stripped.

    >>> find_answer("<think>not <answer>A</answer></think><answer> B </answer>")
    'B'
    """
    after = first_block(text, "answer", max(text.find("</think>"), 0))
    found = first_block(text, "answer", 0) if after is None else after
    return None if found is None else found.strip()


def first_block(text: str, tag: str, start: int) -> str | None:
    """Content of the first `<tag>..</tag>` of a text at or after a position.

    >>> first_block("<a>1</a><a>2</a>", "a", 3)
    '2'
    """
    opening = text.find(f"<{tag}>", start)
    inside = opening + len(tag) + 2
    closing = text.find(f"</{tag}>", inside)
    return text[inside:closing] if opening >= 0 and closing >= 0 else None


def read_claims(text: str, scale: BoxScale) -> tuple[Claim, ...]:
    """Well-formed claims of a text, in order.

    >>> read_claims("<obj>a</obj><box>[0,0,1,1]</box> and <obj>b</obj><box>[0,0,1,1]</box>at<t>3</t>s", BoxScale(1, 1))
    (Claim(name='b', boxes=((0.0, 0.0, 1.0, 1.0),), time_s=3.0),)
    """
    return tuple(found.claim for found in find_claims(text, scale) if found.claim is not None)


def find_claims(text: str, scale: BoxScale) -> tuple[FoundClaim, ...]:
    """Every place of a text with the form of a claim, in order, those with unreadable numbers included.

    >>> [(f.start, f.fault) for f in find_claims("a <obj>b</obj><box>[1]</box>at<t>3</t>s", BoxScale(1, 1))]
    [(2, 'a box is not four readable numbers')]
    """
    return tuple(_found_claim(match, scale) for match in _CLAIM.finditer(text))


def find_fragments(text: str) -> tuple[FoundClaim, ...]:
    """Every obj tag of a text that opens no claim, with what is missing.

    >>> [(f.start, f.end, f.fault) for f in find_fragments("<obj>b</obj><box>[1,2,3,4]</box> at <t>3</t>s")]
    [(0, 32, "'at' does not follow the box")]
    """
    whole = {match.start() for match in _CLAIM.finditer(text)}
    starts = (match.start() for match in re.finditer("<obj>", text))
    return tuple(_fragment(text, start) for start in starts if start not in whole)


_PARTS = (
    (re.compile(rf"<obj>{_INSIDE}</obj>", re.DOTALL), "the obj tag is not closed before the next tag"),
    (re.compile(rf"(?:<box>{_INSIDE}</box>)+", re.DOTALL), "no closed box tag follows the name"),
    (re.compile("at"), "'at' does not follow the box"),
    (re.compile(rf"<t>{_INSIDE}</t>", re.DOTALL), "no closed t tag follows 'at'"),
    (re.compile("s"), "'s' does not follow the time"),
)


def _fragment(text: str, start: int) -> FoundClaim:
    at = start
    for pattern, fault in _PARTS:
        part = pattern.match(text, at)
        if part is None:
            return FoundClaim(start, max(at, start + len("<obj>")), None, fault)
        at = part.end()
    return FoundClaim(start, at, None, "it lies inside another claim")


def read_times(text: str) -> tuple[float, ...]:
    """Every readable `<t>` of a text, seconds.

    >>> read_times("at <t>3.5</t>s, <t>soon</t>s, <t> 4 </t>")
    (3.5, 4.0)
    """
    values = (float(number) for number in _TIME.findall(text))
    return tuple(value for value in values if value <= ABSURD_TIME_S)


def read_boxes(text: str, scale: BoxScale) -> tuple[Box, ...]:
    """Every readable `<box>` of a text, normalised; boxes outside the frame or inverted are kept as written.

    >>> read_boxes("<box>[5, 0, 10, 5]</box> <box>[1,2,3]</box>", BoxScale(10, 10))
    ((0.5, 0.0, 1.0, 0.5),)
    """
    boxes = (read_numbers(match) for match in BOX_PATTERN.finditer(text))
    return tuple(scale.to_unit(box) for box in boxes if box is not None)


def read_numbers(match: re.Match[str]) -> Box | None:
    """The four numbers of a match of `BOX_PATTERN` as written; None when one is absurd.

    >>> read_numbers(BOX_PATTERN.search("<box>[1, 2, 3.5, 4]</box>"))
    (1.0, 2.0, 3.5, 4.0)
    """
    x1, y1, x2, y2 = (float(number) for number in match.groups())
    return (x1, y1, x2, y2) if max(map(abs, (x1, y1, x2, y2))) <= ABSURD_COORDINATE else None


def read_span(text: str) -> Span | None:
    """The first `<t>a</t>s to <t>b</t>s` of a text, seconds, also when b < a (which overlaps nothing).

    >>> read_span("From <t>1.5</t>s to <t>4</t>s")
    (1.5, 4.0)
    """
    found = _SPAN.search(text)
    if not found:
        return None
    start, end = float(found.group(1)), float(found.group(2))
    return (start, end) if max(start, end) <= ABSURD_TIME_S else None


def read_letter(text: str) -> str | None:
    r"""The option letter that an answer names: `A`, `A.`, `(A)` or `[A]`, alone or after `Correct Option:`.

    >>> read_letter("(B)"), read_letter("From <t>1</t>s to <t>2</t>s\nCorrect Option: C."), read_letter("A cat")
    ('B', 'C', None)
    """
    _, mark, tail = text.partition(OPTION_MARK)
    return exact_letter(tail if mark else text)


def exact_letter(text: str) -> str | None:
    """The letter when the text is nothing but `A`, `A.`, `(A)` or `[A]`.

    >>> exact_letter(" [D] "), exact_letter("D. Dog")
    ('D', None)
    """
    found = _LETTER.fullmatch(text.strip())
    return next(group for group in found.groups() if group) if found else None


def _found_claim(match: re.Match[str], scale: BoxScale) -> FoundClaim:
    times = read_times(match["time"])
    boxes = read_boxes(match["boxes"], scale)
    if len(boxes) != len(_BOX_TAG.findall(match["boxes"])):
        return FoundClaim(match.start(), match.end(), None, "a box is not four readable numbers")
    if not times:
        return FoundClaim(match.start(), match.end(), None, "the time is no readable number")
    return FoundClaim(match.start(), match.end(), Claim(match["name"].strip(), boxes, times[0]), "")
