"""The sending thread: growing waits, a bounded end, and what a failure or a bug does to training."""

import threading
import time

import pytest

from o3v.errors import ConfigError
from o3v.tracking.sender import Pace, Sender
from tests.tracking.servers import QUICK, wait_until


class Rounds:
    """Rounds of sending that fail as long as `away` is set."""

    def __init__(self, away=False):
        self.away = away
        self.calls, self.closed = [], 0

    def send(self, last):
        self.calls.append(last)
        if self.away:
            raise ConnectionError("gone")

    def close(self):
        self.closed += 1


def started(rounds, pace=QUICK):
    sender = Sender(rounds.send, rounds.close, (OSError,), pace, "somewhere")
    sender.start()
    return sender


def test_rounds_go_on_until_the_end_and_the_last_one_knows():
    rounds = Rounds()
    sender = started(rounds)
    wait_until(lambda: len(rounds.calls) >= 3, 20, "no rounds")
    assert sender.finish(20) and rounds.calls[-1] and not any(rounds.calls[:-1]) and rounds.closed == 1


def test_a_server_that_comes_back_while_the_run_waits_for_its_end():
    rounds = Rounds(away=True)
    sender = started(rounds, Pace(50, 50, 0.05, 50, 50, 5))
    wait_until(lambda: rounds.calls, 20, "no round")
    threading.Timer(0.3, lambda: setattr(rounds, "away", False)).start()
    assert sender.finish(20)  # although the next regular try would be a minute away
    assert rounds.calls[-1]


def test_a_run_does_not_wait_longer_than_it_should():
    rounds = Rounds(away=True)
    sender = started(rounds)
    began = time.monotonic()
    assert not sender.finish(0.2)
    assert time.monotonic() - began < 10
    wait_until(lambda: rounds.closed == 1, 20, "the thread goes on for ever")


def test_a_call_that_hangs_does_not_hold_up_the_end():
    release, entered = threading.Event(), threading.Event()

    def hang(last):
        entered.set()
        release.wait(30)

    closed = threading.Event()
    sender = Sender(hang, closed.set, (OSError,), QUICK, "somewhere")
    sender.start()
    assert entered.wait(20) and not sender.finish(0.1) and not closed.is_set()
    release.set()
    assert closed.wait(20)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_bug_ends_the_thread_and_not_the_run():
    rounds = Rounds()
    sender = Sender(lambda last: 1 / 0, rounds.close, (OSError,), QUICK, "somewhere")
    sender.start()
    wait_until(lambda: rounds.closed == 1, 20, "not closed")
    assert not sender.finish(5)


def test_waits_grow_and_stay_bounded():
    waits = [QUICK.retry_wait_s(streak) for streak in range(1, 2000)]
    assert waits[:3] == [0.05, 0.1, 0.2] and max(waits) == 0.2 and waits == sorted(waits)


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ((0, 1, 1, 1, 1, 1), "every_s"),
        ((1, 0, 1, 1, 1, 1), "tables_every_s"),
        ((1, 1, -1, 1, 1, 1), "retry_first_s"),
        ((1, 1, 2, 1, 1, 1), "retry_most_s"),
        ((1, 1, 1, 1, -1, 1), "finish_wait_s"),
        ((1, 1, 1, 1, 1, -1), "interrupt_wait_s"),
    ],
)
def test_waits_are_checked(values, key):
    with pytest.raises(ConfigError, match=rf"logger\.pace\.{key}"):
        Pace(*values)
