"""Many questions at once: order, laziness, no question twice, failures in a row."""

import threading
import time

import numpy as np
import pytest

from o3v.curation.annotator import Ask
from o3v.curation.asking import AHEAD, Asking, in_order
from o3v.curation.language import BoxLanguage
from o3v.endpoint.client import RequestFailed
from o3v.endpoint.kept import KeptFiles
from o3v.errors import ServiceError


class Scripted:
    """An annotator whose replies are the question's text."""

    name, boxes, format, factor, workers = "scripted", BoxLanguage("unit", "xyxy"), "json", 28, 4

    def __init__(self, fails=lambda text: False):
        self.asked, self.fails, self.lock = [], fails, threading.Lock()

    def reply(self, ask):
        with self.lock:
            self.asked.append(ask.parts[-1])
        time.sleep(0.005)
        if self.fails(ask.parts[-1]):
            raise RequestFailed("status 400: no")
        return ask.parts[-1]


def ask(text, shade=0, size_px=28):
    return Ask("", (0, text), np.full((1, size_px, size_px, 3), shade, np.uint8), ())


def asking(folder, annotator, again=False, most=5):
    return Asking(annotator, KeptFiles(str(folder)), again, most)


def test_one_question_is_asked_once_by_many_threads(tmp_path):
    who = Scripted()
    one = asking(tmp_path, who)
    asks = [ask("a"), ask("b"), ask("a"), ask("a", shade=1)] * 10
    replies = list(in_order(lambda question: one.reply(question, "s", "t").text, asks, 8))
    assert replies == [question.parts[-1] for question in asks]
    assert sorted(who.asked) == ["a", "a", "b"] and one.asked == 3
    assert list(in_order(lambda question: asking(tmp_path, who).reply(question, "s", "t").text, asks, 8)) == replies
    assert len(who.asked) == 3


def test_the_pixels_stand_in_no_record(tmp_path):
    asking(tmp_path, Scripted()).reply(ask("a", shade=7), "s", "t")
    text = next(tmp_path.rglob("*.json")).read_text()
    assert "28x28 sha256:" in text and len(text) < 600


def test_items_are_taken_as_they_are_needed():
    taken = []

    def items():
        for n in range(1000):
            taken.append(n)
            yield n

    results = in_order(lambda n: n, items(), 2)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    assert len(taken) <= 5 + 2 * (1 + AHEAD)
    results.close()


def test_an_error_comes_at_its_turn():
    def work(n):
        if n == 3:
            raise ServiceError("away")
        return n

    results = in_order(work, range(100), 4)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ServiceError):
        next(results)


def test_failures_are_kept_and_asked_again_on_request(tmp_path):
    who = Scripted(fails=lambda text: text == "b")
    assert "400" in asking(tmp_path, who).reply(ask("b"), "s", "t").fault
    assert asking(tmp_path, who).reply(ask("b"), "s", "t").fault and who.asked == ["b"]
    who.fails = lambda text: False
    assert asking(tmp_path, who, again=True).reply(ask("b"), "s", "t").text == "b"


def test_failures_in_a_row_stop_and_scattered_ones_do_not(tmp_path):
    who = Scripted(fails=lambda text: not text.endswith("0"))
    one = asking(tmp_path, who, most=10)
    for n in range(30):
        one.reply(ask(str(n)), "s", "t")
    with pytest.raises(ServiceError, match="10 questions in a row"):
        for n in range(30):
            one.reply(ask(f"{n}x"), "s", "t")
