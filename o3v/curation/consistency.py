"""Reasoning is kept where all that it claims is annotated: every time, every object, every box."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from o3v.curation.items import Candidate, Notes, Outcome
from o3v.grounding.boxes import box_iou
from o3v.grounding.parse import find_claims, find_fragments, read_times
from o3v.types import Box, BoxScale, Claim, KeyFrame

STAGE = "consistency"
UNIT = BoxScale(1, 1)
_TIME_TAG = re.compile(r"<t>[^<]*</t>")
_ANY_TAG = re.compile(r"</?(?:obj|box|t)>")

Fault = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Consistency:
    """The fifth stage (arXiv:2510.20579, A.4: a row is discarded where its reasoning cites what is not annotated).

    Attributes:
        max_time_error_s: between a cited time and an annotated one, included.
        min_iou: between a cited box and an annotated one of the same name and time, included.
        min_claims: fewest claims of a reasoning.
    """

    max_time_error_s: float
    min_iou: float
    min_claims: int

    def outcome(self, candidate: Candidate) -> Outcome:
        """The candidate where its reasoning is consistent."""
        notes = Notes(candidate.id, STAGE)
        for reason, values in self.faults(candidate):
            return notes.dropped(reason, **values)
        return notes.kept(candidate, claims=len(find_claims(candidate.reasoning, UNIT)))

    def faults(self, candidate: Candidate) -> Iterator[Fault]:
        """Everything in the reasoning that is not annotated, in the order in which it is looked for."""
        text = candidate.reasoning
        found = find_claims(text, UNIT)
        for part in (*find_fragments(text), *(one for one in found if one.claim is None)):
            yield "malformed claim", {"detail": part.fault, "text": text[part.start : part.end][:120]}
        if _ANY_TAG.search(_TIME_TAG.sub("", _without(text, [(one.start, one.end) for one in found]))):
            yield "tags outside a claim", {}
        claims = [one.claim for one in found if one.claim is not None]
        if len(claims) < self.min_claims:
            yield "too few claims", {"claims": len(claims)}
        if len(read_times(text)) != text.count("<t>"):
            yield "unreadable time", {}
        for time_s in read_times(text):
            if not self._near(candidate, time_s):
                yield "time not annotated", {"time_s": time_s}
        for claim in claims:
            yield from self._claim_faults(candidate, claim)

    def _claim_faults(self, candidate: Candidate, claim: Claim) -> Iterator[Fault]:
        named = [
            box
            for frame in self._near(candidate, claim.time_s)
            for name, boxes in frame.boxes.items()
            if same_name(name, claim.name)
            for box in boxes
        ]
        if not named:
            yield "object not annotated", {"name": claim.name, "time_s": claim.time_s}
            return
        for box in claim.boxes:
            best = max(box_iou(box, other) for other in named)
            if best < self.min_iou:
                yield "box not annotated", _box_values(claim, box, best)

    def _near(self, candidate: Candidate, time_s: float) -> list[KeyFrame]:
        tolerance_s = self.max_time_error_s + 1e-6
        return [frame for frame in candidate.key_frames if abs(frame.time_s - time_s) <= tolerance_s]


def same_name(a: str, b: str) -> bool:
    """Whether two names are one but for case and white space.

    >>> same_name("Red  ball", "red ball"), same_name("ball", "red ball")
    (True, False)
    """
    return a.casefold().split() == b.casefold().split()


def _box_values(claim: Claim, box: Box, iou: float) -> dict[str, Any]:
    return {"name": claim.name, "time_s": claim.time_s, "box": list(box), "iou": round(iou, 4)}


def _without(text: str, places: list[tuple[int, int]]) -> str:
    """The text without some of its parts, which follow each other."""
    starts = [0, *(end for _, end in places)]
    ends = [*(start for start, _ in places), len(text)]
    return "".join(text[start:end] for start, end in zip(starts, ends, strict=True))
