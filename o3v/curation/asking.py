"""Many questions to an annotator at once, none of them twice, the replies in the order of the questions."""

from __future__ import annotations

import logging
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from o3v.curation.annotator import Annotator, Ask
from o3v.endpoint.client import RequestFailed
from o3v.endpoint.kept import KeptFiles, request_key
from o3v.errors import ServiceError

log = logging.getLogger(__name__)

AHEAD = 4
"""Items prepared for each worker beyond the one under way."""

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Reply:
    """What came of a question.

    Attributes:
        text: the annotator's reply; "" where there is none.
        fault: why there is none; "" for a reply.
        size_px: (width, height) of the frames that it was shown.
    """

    text: str
    fault: str
    size_px: tuple[int, int]


class Asking:
    """Asks one annotator and keeps its replies.

    Args:
        annotator: who is asked.
        kept: where replies lie, under the hash of name, texts and pixels.
        again: ask once more where an earlier run got no reply.
        max_failures: so many failures without a reply in between stop the run: the server is ill, not the questions.
    """

    def __init__(self, annotator: Annotator, kept: KeptFiles, again: bool, max_failures: int) -> None:
        self.annotator = annotator
        self.asked = 0
        self._kept, self._again, self._max_failures = kept, again, max_failures
        self._failures = 0
        self._ended = ""  # why nobody is asked any more
        self._lock = threading.Lock()
        self._of_key: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def reply(self, ask: Ask, sample: str, stage: str) -> Reply:
        """The kept reply, else the annotator's; safe for many threads, which ask one question once.

        Raises:
            ServiceError: the annotator is away, or fails at everything.
        """
        key = request_key(self.annotator.name, ask.identity())
        with self._lock:
            lock = self._of_key[key]
        with lock:
            record = self._kept.read(key)
            if record is None or (self._again and record.get("fault")):
                record = self._ask(ask) | {"sample": sample, "stage": stage}
                self._kept.write(key, record)
        return Reply(_text(record, "reply"), _text(record, "fault"), ask.size_px)

    def _ask(self, ask: Ask) -> dict[str, object]:
        if self._ended:
            raise ServiceError(self._ended)
        system, parts = ask.identity()
        asked = {"annotator": self.annotator.name, "system": system, "parts": parts}
        try:
            text, fault = self.annotator.reply(ask), ""
        except RequestFailed as error:
            text, fault = "", str(error)
            log.warning("%s", error)
        except ServiceError as error:
            self._ended = self._ended or f"{error}. What was answered is kept; the same command goes on from there."
            raise ServiceError(self._ended) from None
        self._count(fault)
        return asked | {"reply": text, "fault": fault}

    def _count(self, fault: str) -> None:
        """Too many failures in a row end the asking."""
        with self._lock:
            self.asked += 1
            self._failures = self._failures + 1 if fault else 0
            if self._failures >= self._max_failures and not self._ended:
                self._ended = (
                    f"{self._failures} questions in a row got no reply, the last: {fault}. "
                    "What was answered is kept; the same command goes on from there."
                )
            if self._ended:
                raise ServiceError(self._ended)


def in_order(work: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """Results in the order of the items, `workers` under way at a time and few prepared ahead.

    Items are taken from the iterable only as they are needed. An exception of `work` is raised at its item's turn;
    what is not begun by then is left out.

    >>> list(in_order(lambda n: n * n, range(5), 2))
    [0, 1, 4, 9, 16]
    """
    source = iter(items)
    with ThreadPoolExecutor(workers, thread_name_prefix="ask") as pool:
        waiting: deque[Future[Result]] = deque(
            pool.submit(work, item) for item in islice(source, workers * (1 + AHEAD))
        )
        try:
            while waiting:
                result = waiting.popleft().result()
                waiting.extend(pool.submit(work, item) for item in islice(source, 1))
                yield result
        finally:
            for future in waiting:
                future.cancel()


def _text(record: dict[str, object], key: str) -> str:
    value = record.get(key)
    return value if isinstance(value, str) else ""
