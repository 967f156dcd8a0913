"""Spans as a table and as a trace: nothing lost, everything inside what it was inside of."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from o3v.comparison.markup import escape
from o3v.sections import Recorder, Span, recording, section
from o3v.training import timeline
from o3v.training.profile_picture import section_picture
from o3v.training.timeline import STEP, section_rows, trace
from tests.test_sections import TREES, Ticks, walk


def recorded(trees, clock=None):
    recorder = Recorder(clock=clock or Ticks())
    with recording(recorder), section(STEP):
        for tree in trees:
            walk(tree)
    return recorder.spans


FORESTS = st.lists(TREES, max_size=3).map(recorded)


@given(FORESTS)
def test_rows_have_all_of_the_step(spans):
    rows = section_rows(spans)
    assert sum(row.own_s for row in rows) == pytest.approx(rows[0].total_s)
    assert sum(row.share for row in rows) == pytest.approx(1)
    assert sum(row.calls for row in rows) == len(spans) and len({row.path for row in rows}) == len(rows)


@given(FORESTS)
def test_a_row_stands_behind_the_one_around_it_and_before_its_next(spans):
    paths = [row.path for row in section_rows(spans)]
    assert paths[0] == (STEP,)
    for place, path in enumerate(paths[1:], 1):
        around = paths.index(path[:-1])
        assert around < place
        assert all(between[: len(path) - 1] == path[:-1] for between in paths[around + 1 : place])


def nested(events):
    """Whether events of a track never overlap without one lying inside the other."""
    open_until = []
    for event in sorted(events, key=lambda e: (e["ts"], -e["dur"])):
        start, end = event["ts"], event["ts"] + event["dur"]
        while open_until and open_until[-1] <= start + 1e-6:
            open_until.pop()
        if open_until and end > open_until[-1] + 1e-6:
            return False
        open_until.append(end)
    return True


@given(st.lists(TREES, max_size=3), st.floats(0, 1e6))
def test_the_trace_is_json_and_its_events_lie_in_each_other(trees, later_s):
    ticks = Ticks()
    spans = recorded(trees, lambda: later_s + ticks() / 7)
    found = json.loads(trace({"first process": spans}, {"device": "CPU"}))
    events = [event for event in found["traceEvents"] if event["ph"] == "X"]
    assert len(events) == len(spans) and nested(events)
    assert min(event["ts"] for event in events) == 0
    assert found["otherData"] == {"device": "CPU"}
    assert events[0]["name"] == STEP and events[0]["dur"] == pytest.approx(1e6 * (spans[-1].end_s - spans[-1].start_s))


def test_events_that_overlap_are_caught():
    assert not nested([{"ts": 0, "dur": 5}, {"ts": 3, "dur": 4}])


def test_a_worker_has_a_track_of_its_own():
    worker = [Span(("decode",), 1.0, 2.5, 0.0)]
    step = [Span((STEP,), 2.0, 4.0, 0.0)]
    events = json.loads(trace({"first process": step, "a loader worker": worker}, {}))["traceEvents"]
    times = {event["name"]: (event["tid"], event["ts"], event["dur"]) for event in events if event["ph"] == "X"}
    assert times == {STEP: (0, 1e6, 2e6), "decode": (1, 0, 1.5e6)}
    assert [e["args"]["name"] for e in events if e["ph"] == "M"] == ["first process", "a loader worker"]


def test_names_in_a_table():
    spans = recorded([("prefill", [("vision", [])])])
    assert [row.as_json()["section"] for row in section_rows(spans)] == [STEP, "prefill", "prefill / vision"]
    assert section_rows([Span(("decode",), 0.0, 1.0, 0.0)])[0].as_json()["section"] == "decode"


def test_the_picture_is_xml_with_a_bar_a_section():
    from xml.etree import ElementTree

    rows = section_rows(recorded([("prefill", [("vision", [])]), ("rewards", [])]))
    root = ElementTree.fromstring(section_picture("Batch <3>", 'a "b" & c', rows))
    name = "{http://www.w3.org/2000/svg}"
    assert root.tag == f"{name}svg"
    bars = [rect for rect in root.iter(f"{name}rect") if rect.get("class") == "own"]
    assert len(bars) == len(rows) == 4
    widths = [float(bar.get("width")) for bar in bars]
    assert widths[1] / widths[3] == pytest.approx(rows[1].own_s / rows[3].own_s, rel=0.05)
    texts = [text.text for text in root.iter(f"{name}text")]
    assert "Batch <3>" in texts and "vision" in texts and escape('a "b" & c') != 'a "b" & c' and 'a "b" & c' in texts


def test_a_step_of_nothing():
    rows = section_rows([Span((STEP,), 1.0, 1.0, 0.0)])
    assert rows[0].share == 0 and "svg" in section_picture("", "", rows) and section_rows([]) == []


def test_totals_in_place_of_own_times_are_caught(monkeypatch):
    monkeypatch.setattr(timeline.Span, "own_s", property(lambda self: self.end_s - self.start_s))
    rows = section_rows(recorded([("prefill", [("vision", [])])]))
    assert sum(row.own_s for row in rows) != pytest.approx(rows[0].total_s)
