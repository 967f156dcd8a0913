"""The released code's definitions without its defects: its way of reading a text, this project's terms.

The terms are those of `reward=o3`; only the reading of the text is the released code's, with its quirks:

* one unreadable `<t>..</t>s` in the think block hides all of its times;
* a claim whose boxes are JSON but no boxes (three numbers, null, lists) is a claim that overlaps nothing;
* numbers may stand in quotes or in other scripts' digits, and a time of a claim may be anything that `float` reads;
* of the answer's boxes only the first counts, readable or not;
* the option letter of temporal multiple choice stands after `Correct Option:`, that of general multiple choice alone,
  and an empty answer matches an empty annotation.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from o3v.grounding.parse import OPTION_MARK, exact_letter
from o3v.rewards.mix import RewardTerm
from o3v.types import Box, BoxScale, Claim, Completion, Sample, Span, Task

_INSIDE = r"(?:(?!</?(?:obj|box|t)>).)*?"
_CLAIM = re.compile(
    rf"<obj>({_INSIDE})</obj>((?:<box>\[{_INSIDE}\]</box>)+)at<t>({_INSIDE})</t>s",
    re.DOTALL,
)
_LIST = re.compile(r"\[.*?\]")
_BOX = re.compile(r"<box>(\[.*?\])</box>")
_TIME = re.compile(r"<t>([\d.]+)</t>s")
_SPAN = re.compile(r"<t>(\d+\.?\d*)</t>s to <t>(\d+\.?\d*)</t>s")
_NOWHERE: Box = (math.nan, math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class AsReference:
    """A term of this project over a text as the released code reads it.

    Attributes:
        term: any reward term.
    """

    term: RewardTerm

    @property
    def tasks(self) -> frozenset[Task]:
        """Those of the term."""
        return self.term.tasks

    def __call__(self, completion: Completion, sample: Sample, progress: float) -> float:
        """The term's value for the text read again."""
        return self.term(reread(completion, sample.task), sample, progress)

    def diagnostics(self, completion: Completion, sample: Sample, progress: float) -> Mapping[str, float]:
        """Those of the term."""
        told = getattr(self.term, "diagnostics", None)  # quicker than asking the protocol
        return told(reread(completion, sample.task), sample, progress) if told is not None else {}


@functools.lru_cache(maxsize=16)  # every term of a mix asks for it
def reread(completion: Completion, task: Task) -> Completion:
    """A completion with the released code's reading of its text (see the module's list); raises on no text."""
    think, answer, scale = completion.think or "", completion.answer or "", completion.box_scale
    first_box = _BOX.search(answer)
    return dataclasses.replace(
        completion,
        claims=_read_claims(think, scale),
        think_times_s=_read_times(think),
        think_boxes=tuple(_to_box(_load(found), scale) for found in _BOX.findall(think)),
        answer_box=_to_box(_load(first_box.group(1)), scale) if first_box else None,
        answer_span_s=_read_span(answer),
        answer_letter=_read_letter(answer, task),
    )


def _read_letter(answer: str, task: Task) -> str | None:
    parts = answer.split(OPTION_MARK) if task == Task.TEMPORAL_MCQ else ["", answer]
    return exact_letter(parts[1]) or parts[1].strip() if len(parts) > 1 else None


def _read_span(answer: str) -> Span | None:
    found = _SPAN.search(answer)
    return (float(found.group(1)), float(found.group(2))) if found else None


def _read_times(think: str) -> tuple[float, ...]:
    times = [_to_time(text) for text in _TIME.findall(think)]
    return () if None in times else tuple(time for time in times if time is not None)


def _read_claims(think: str, scale: BoxScale) -> tuple[Claim, ...]:
    claims = []
    for name, boxes, time in _CLAIM.findall(think):
        time_s = _to_time(time)
        values = [_load(text) for text in _LIST.findall(boxes)]
        if time_s is not None and None not in values:
            claims.append(Claim(name.strip(), tuple(_to_box(value, scale) for value in values), time_s))
    return tuple(claims)


def _to_time(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _load(text: str) -> object:
    """The JSON value of a text, None where it has none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _to_box(value: object, scale: BoxScale) -> Box:
    """A box, NaN everywhere (overlaps nothing) when the value is not four finite numbers."""
    if not isinstance(value, list) or len(value) != 4:
        return _NOWHERE
    x1, y1, x2, y2 = (_to_number(element) for element in value)
    return scale.to_unit((x1, y1, x2, y2))


def _to_number(element: object) -> float:
    if not isinstance(element, str | int | float):
        return math.nan
    try:
        return float(element)
    except (ValueError, OverflowError):
        return math.nan
