"""Signals set a flag and nothing else; the hand-over uses whoever was in charge of them before."""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time

import pytest

from o3v.stop import SIGNALS, Interrupted, Stop, catch_signals, current_stop

TERM, USR2 = 1, 2


def send(number):
    os.kill(os.getpid(), number)


@pytest.fixture
def earlier():
    """A handler of submitit's kind: keeps what it was called with."""
    calls = []
    before = signal.signal(signal.SIGUSR2, lambda *call: calls.append(call))
    yield calls
    signal.signal(signal.SIGUSR2, before)


@pytest.mark.parametrize(("numbers", "level"), [((15,), TERM), ((12,), USR2), ((12, 15), USR2), ((15, 12), USR2)])
def test_a_signal_sets_the_flag_and_the_stronger_one_stays(numbers, level, earlier):
    with catch_signals() as stop:
        assert not stop.requested and current_stop() is stop
        for number in numbers:
            send(number)
        assert stop.requested and stop.level == level
    assert earlier == []


def test_handlers_come_back_when_the_block_ends(earlier):
    before = [signal.getsignal(number) for number in SIGNALS]
    with pytest.raises(Interrupted), catch_signals():
        raise Interrupted("x")
    assert [signal.getsignal(number) for number in SIGNALS] == before
    send(signal.SIGUSR2)
    assert len(earlier) == 1 and not current_stop().requested


def test_a_block_inside_another_shares_its_flag():
    with catch_signals() as outer:
        with catch_signals() as inner:
            send(signal.SIGTERM)
        assert inner is outer and outer.requested
        assert signal.getsignal(signal.SIGTERM) == outer._note


def test_signals_taken_by_others_are_taken_back():
    with catch_signals() as stop:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        stop.install()
        send(signal.SIGTERM)
        assert stop.requested


def test_what_other_processes_were_asked_counts():
    stop = Stop()
    assert not stop.agree(0) and stop.agree(USR2) and stop.agree(0) and stop.level == USR2


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGUSR2, 140)])
def test_without_submitit_the_process_leaves_with_the_signals_code(number, code):
    with pytest.raises(SystemExit) as left, catch_signals() as stop:
        send(number)
        stop.hand_over()
    assert left.value.code == code


def test_the_first_process_hands_over_to_the_earlier_handler():
    def requeue(number, frame):
        assert (number, frame) == (signal.SIGUSR2, None)
        sys.exit(-1)

    before = signal.signal(signal.SIGUSR2, requeue)
    try:
        with pytest.raises(SystemExit) as left, catch_signals() as stop:
            send(signal.SIGUSR2)
            stop.hand_over()
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert left.value.code == -1


def test_other_processes_wait_for_the_end_of_the_step(earlier):
    """The handler returns there; the requeue's SIGTERM ends the wait."""
    with pytest.raises(SystemExit) as left, catch_signals() as stop:
        send(signal.SIGUSR2)
        threading.Timer(0.5, send, [signal.SIGTERM]).start()
        started = time.monotonic()
        stop.hand_over()
    assert left.value.code == 140 and time.monotonic() - started >= 0.4 and len(earlier) == 1


def test_a_refused_requeue_goes_up():
    """As submitit says it after too many time limits: an error, so that the job ends as failed."""

    def refuse(number, frame):
        raise ValueError("timed-out too many times")

    before = signal.signal(signal.SIGUSR2, refuse)
    try:
        with pytest.raises(ValueError, match="too many"), catch_signals() as stop:
            send(signal.SIGUSR2)
            stop.hand_over()
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_outside_the_main_thread_nothing_is_caught():
    found = []

    def work():
        with catch_signals() as stop:
            found.append((stop.requested, signal.getsignal(signal.SIGTERM)))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [(False, before)]


def test_interrupted_travels_between_processes():
    again = pickle.loads(pickle.dumps(Interrupted("batch 4 of 6")))
    assert str(again) == str(Interrupted("batch 4 of 6")) and again.place == "batch 4 of 6"


def test_the_module_is_light():
    code = "import sys, o3v.stop; print([m for m in ('torch', 'hydra', 'submitit') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
