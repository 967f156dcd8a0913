"""A recorded step as a table of its sections and as a trace that Perfetto and chrome://tracing open."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from o3v.sections import Span

STEP = "step"
"""The outermost section; its exclusive time is what lies in no other."""


@dataclass(frozen=True)
class SectionRow:
    """All calls of a section at one place.

    Attributes:
        path: names from the outermost section to this one.
        calls: how often it was entered.
        own_s: seconds without the sections inside it.
        total_s: seconds with them.
        share: `own_s` of all rows' `own_s`, 0 to 1.
    """

    path: tuple[str, ...]
    calls: int
    own_s: float
    total_s: float
    share: float

    def as_json(self) -> dict[str, Any]:
        """For a file or a table; the section's place is written `prefill / vision`."""
        inner = self.path[1:] if self.path[0] == STEP else self.path
        name = " / ".join(inner) or STEP
        values = {"section": name, "own_s": self.own_s, "share": self.share, "calls": self.calls}
        return values | {"total_s": self.total_s}


def section_rows(spans: Sequence[Span]) -> list[SectionRow]:
    """Sections in the order in which they were first entered, each before those inside it.

    >>> spans = [Span(("step", "a"), 1.0, 2.0, 0.0), Span(("step", "a"), 3.0, 6.0, 0.0), Span(("step",), 0.0, 8.0, 4.0)]
    >>> [(row.path[-1], row.calls, row.own_s, row.share) for row in section_rows(spans)]
    [('step', 1, 4.0, 0.5), ('a', 2, 4.0, 0.5)]
    """
    places: dict[tuple[str, ...], list[Span]] = {}
    for span in sorted(spans, key=lambda span: (span.start_s, len(span.path))):
        places.setdefault(span.path, []).append(span)
    whole_s = sum(span.own_s for span in spans)
    rows = [_row(path, found, whole_s) for path, found in places.items()]
    order = {path: number for number, path in enumerate(places)}
    return sorted(rows, key=lambda row: [order.get(row.path[:depth], 0) for depth in range(1, len(row.path) + 1)])


def _row(path: tuple[str, ...], spans: Sequence[Span], whole_s: float) -> SectionRow:
    own_s = sum(span.own_s for span in spans)
    total_s = sum(span.end_s - span.start_s for span in spans)
    return SectionRow(path, len(spans), own_s, total_s, own_s / whole_s if whole_s else 0.0)


def trace(tracks: Mapping[str, Sequence[Span]], about: Mapping[str, Any]) -> str:
    """Chrome's trace event format (JSON object, complete events, microseconds from the first event).

    Source: "Trace Event Format", Google, sections "JSON Object Format" and "Complete Events".

    Args:
        tracks: name -> spans of one process or worker; the clock is the same for all.
        about: facts that the file keeps beside the events.
    """
    first_s = min((span.start_s for spans in tracks.values() for span in spans), default=0.0)
    events: list[dict[str, Any]] = []
    for number, (name, spans) in enumerate(tracks.items()):
        events.append({"name": "thread_name", "ph": "M", "pid": 0, "tid": number, "args": {"name": name}})
        events += [_event(span, number, first_s) for span in sorted(spans, key=lambda s: (s.start_s, len(s.path)))]
    return json.dumps({"traceEvents": events, "displayTimeUnit": "ms", "otherData": dict(about)}) + "\n"


def _event(span: Span, track: int, first_s: float) -> dict[str, Any]:
    """Whole nanoseconds, so that what lies inside a section stays inside it."""
    start_ns, end_ns = (round((moment - first_s) * 1e9) for moment in (span.start_s, span.end_s))
    times = {"ts": start_ns / 1000, "dur": (end_ns - start_ns) / 1000}
    named = {"name": span.path[-1], "cat": "o3v", "ph": "X", "pid": 0, "tid": track}
    return named | times | {"args": {"own_ms": round(span.own_s * 1000, 6)}}
