"""Named parts of a step, timed while somebody records: `with section("rewards"): ...` or `@in_section("rewards")`.

Without a recorder nothing is read, not even a clock. Sections lie inside each other; what a section needed for itself,
without those inside it, is its exclusive time, and the exclusive times of a recording add up to its whole.

The recorder belongs to the context (`contextvars`), so that other threads, such as those of a backward pass on a GPU,
cannot put their sections into the middle of this one's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

Mark = Callable[[str], AbstractContextManager[object]]
"""Opened around every section with its name, for another profiler to know it."""


@dataclass(frozen=True)
class Span:
    """One section, from its start to its end.

    Attributes:
        path: names from the outermost section to this one.
        start_s, end_s: of the recorder's clock, seconds.
        inside_s: seconds of the sections directly inside it.
    """

    path: tuple[str, ...]
    start_s: float
    end_s: float
    inside_s: float

    @property
    def own_s(self) -> float:
        """Exclusive time.

        >>> Span(("step", "rewards"), 1.0, 4.0, 0.5).own_s
        2.5
        """
        return self.end_s - self.start_s - self.inside_s


class Recorder:
    """Keeps the spans of what runs while it is `recording`.

    Args:
        settle: called before the clock is read; a GPU has to finish what it was given, or its time would be counted
            where somebody happens to wait for it.
        mark: see `Mark`.
        clock: seconds; the default is the same for all processes of a machine under Linux.

    Attributes:
        spans: closed sections, in the order in which they ended.
    """

    def __init__(
        self,
        settle: Callable[[], object] | None = None,
        mark: Mark | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.spans: list[Span] = []
        self._settle = settle
        self._mark = mark
        self._clock = clock
        self._path: list[str] = []
        self._inside_s: list[float] = [0.0]

    @contextmanager
    def section(self, name: str) -> Iterator[None]:
        """Around a part; it is recorded too where it ends with an exception."""
        with nullcontext() if self._mark is None else self._mark(name):
            start_s = self._now()
            self._path.append(name)
            self._inside_s.append(0.0)
            try:
                yield
            finally:
                end_s = self._now()
                self.spans.append(Span(tuple(self._path), start_s, end_s, self._inside_s.pop()))
                self._inside_s[-1] += end_s - start_s
                self._path.pop()

    def _now(self) -> float:
        if self._settle is not None:
            self._settle()
        return self._clock()


_recorder: ContextVar[Recorder | None] = ContextVar("o3v_recorder", default=None)
_OFF: Final = nullcontext()


def section(name: str) -> AbstractContextManager[None]:
    """A part of a step; while nobody records, a context that does nothing.

    >>> recorder = Recorder(clock=iter([0.0, 1.0, 3.0, 4.0]).__next__)
    >>> with recording(recorder), section("prefill"), section("vision"):
    ...     pass
    >>> [("/".join(span.path), span.own_s) for span in recorder.spans]
    [('prefill/vision', 2.0), ('prefill', 2.0)]
    """
    recorder = _recorder.get()
    return _OFF if recorder is None else recorder.section(name)


def in_section(name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorator: every call of the function is a `section`."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        """The function, in its section."""

        @wraps(function)
        def called(*args: P.args, **kwargs: P.kwargs) -> R:
            recorder = _recorder.get()
            if recorder is None:
                return function(*args, **kwargs)
            with recorder.section(name):
                return function(*args, **kwargs)

        return called

    return decorate


@contextmanager
def recording(recorder: Recorder) -> Iterator[Recorder]:
    """Sections of the block go to this recorder; one that recorded before goes on after it."""
    before = _recorder.get()
    _recorder.set(recorder)
    try:
        yield recorder
    finally:
        _recorder.set(before)
