"""Sections: nothing without a recorder, exclusive times that add up with one, whatever lies inside what."""

from __future__ import annotations

import threading
import time
from contextlib import nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from o3v import sections
from o3v.sections import Recorder, in_section, recording, section

NAMES = st.sampled_from(["prefill", "vision", "rewards"])
TREES = st.recursive(
    st.builds(lambda name: (name, []), NAMES),
    lambda inner: st.tuples(NAMES, st.lists(inner, max_size=4)),
    max_leaves=12,
)


class Ticks:
    """A clock that goes on by itself, by another amount every time it is read."""

    def __init__(self):
        self.reads, self.now = 0, 0.0

    def __call__(self):
        self.reads += 1
        self.now += 0.5 + (self.reads * 7 % 5)
        return self.now


def walk(tree):
    name, inner = tree
    with section(name):
        for part in inner:
            walk(part)


def size(tree):
    return 1 + sum(size(part) for part in tree[1])


@given(TREES)
def test_exclusive_times_add_up_to_the_whole(tree):
    clock = Ticks()
    recorder = Recorder(clock=clock)
    with recording(recorder), section("step"):
        walk(tree)
    whole = recorder.spans[-1]
    assert whole.path == ("step",) and len(recorder.spans) == size(tree) + 1
    assert sum(span.own_s for span in recorder.spans) == pytest.approx(whole.end_s - whole.start_s)
    assert all(span.own_s > 0 for span in recorder.spans)
    assert clock.reads == 2 * len(recorder.spans)


@given(TREES)
def test_spans_lie_inside_those_of_their_path(tree):
    recorder = Recorder(clock=Ticks())
    with recording(recorder):
        walk(tree)
    for span in recorder.spans[:-1]:
        around = [s for s in recorder.spans if s.path == span.path[:-1] and s.start_s < span.start_s < s.end_s]
        assert len(around) == 1 and span.end_s < around[0].end_s


def test_nothing_is_read_without_a_recorder(monkeypatch):
    clock = Ticks()
    monkeypatch.setattr(time, "perf_counter", clock)
    Recorder(clock=clock)
    for _ in range(3):
        walk(("prefill", [("vision", [])]))
        assert in_section("rewards")(lambda: 5)() == 5
    assert clock.reads == 0
    assert section("a") is section("b"), "no object is made where nobody records"


def test_a_decorated_function_is_itself():
    @in_section("rewards")
    def judge(group: int, *, twice: bool) -> int:
        """Says what it does."""
        return group * (2 if twice else 1)

    recorder = Recorder()
    with recording(recorder):
        assert judge(3, twice=True) == 6
    assert [span.path for span in recorder.spans] == [("rewards",)]
    assert (judge.__name__, judge.__doc__) == ("judge", "Says what it does.")


def test_a_section_that_fails_is_closed():
    recorder = Recorder(clock=Ticks())
    with recording(recorder):
        with pytest.raises(ValueError, match="no"), section("forward"):
            raise ValueError("no")
        with section("backward"):
            pass
    assert [span.path for span in recorder.spans] == [("forward",), ("backward",)]


def test_recorders_follow_each_other():
    outer, inner = Recorder(), Recorder()
    with recording(outer):
        with recording(inner), section("decode"):
            pass
        with section("rewards"):
            pass
    with section("late"):
        pass
    assert [[span.path for span in r.spans] for r in (outer, inner)] == [[("rewards",)], [("decode",)]]


def test_another_thread_records_nothing_into_this_one():
    recorder = Recorder()
    with recording(recorder), section("backward"):
        thread = threading.Thread(target=lambda: walk(("vision", [])))
        thread.start()
        thread.join()
    assert [span.path for span in recorder.spans] == [("backward",)]


def test_the_device_settles_before_every_reading_of_the_clock():
    order = []

    def clock():
        order.append("clock")
        return float(len(order))

    marks = []

    def mark(name):
        marks.append(name)
        return nullcontext()

    with recording(Recorder(settle=lambda: order.append("settle"), mark=mark, clock=clock)):
        walk(("prefill", [("vision", [])]))
    assert order == ["settle", "clock"] * 4 and marks == ["prefill", "vision"]


def test_times_of_inner_sections_that_are_not_taken_out_are_caught(monkeypatch):
    monkeypatch.setattr(sections.Span, "own_s", property(lambda self: self.end_s - self.start_s))
    recorder = Recorder(clock=Ticks())
    with recording(recorder), section("step"):
        walk(("prefill", [("vision", [])]))
    whole = recorder.spans[-1]
    assert sum(span.own_s for span in recorder.spans) != pytest.approx(whole.end_s - whole.start_s)
