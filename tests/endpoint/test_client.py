"""The chat client: protocol, failures that pass and those that do not, the key in no place, pace."""

import threading
import time
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from o3v.endpoint.client import ChatClient, RequestFailed
from o3v.endpoint.kept import KeptFiles, request_key
from o3v.endpoint.loopback import said, serving
from o3v.endpoint.pace import Pace
from o3v.errors import ConfigError, ServiceError

CLIENT = ChatClient("http://127.0.0.1:9/v1", "m-7b", "O3V_TEST_KEY", 0.0, 16, 5.0, 2, 0.01, 4, None)
ASKED = [{"role": "user", "content": [{"type": "text", "text": "hello"}]}]


def fine(body, before):
    return 200, said("hi"), {}


def test_the_protocol(monkeypatch):
    monkeypatch.setenv("O3V_TEST_KEY", "secret")
    with serving(fine) as served:
        assert replace(CLIENT, url=served.url + "/").reply(ASKED) == "hi"
    assert served.paths == ["/v1/chat/completions"]
    assert served.requests == [{"model": "m-7b", "messages": ASKED, "temperature": 0.0, "max_tokens": 16}]
    assert served.headers[0]["Authorization"] == "Bearer secret"


@pytest.mark.parametrize(
    "failure",
    [
        (500, "oops", {}),
        (429, "slow down", {"Retry-After": "0.01"}),
        (200, "no json", {}),
        (200, {"choices": []}, {}),
        (200, "[" * 100_000, {}),
    ],
)
def test_failures_that_pass_are_tried_again(failure):
    with serving(lambda body, before: failure if before < 2 else fine(body, before)) as served:
        assert replace(CLIENT, url=served.url).reply(ASKED) == "hi"
    assert len(served.requests) == 3


@pytest.mark.parametrize(
    ("failure", "kind", "times"),
    [
        ((400, "too many pictures", {}), RequestFailed, 1),
        ((413, "too large", {}), RequestFailed, 1),
        ((500, "oops", {}), RequestFailed, 3),
        ((200, "no json", {}), RequestFailed, 3),
        ((401, "who are you", {}), ServiceError, 1),
        ((404, "no such model", {}), ServiceError, 1),
        ((503, "loading", {}), ServiceError, 3),
        ((429, "slow down", {}), ServiceError, 3),
    ],
)
def test_what_concerns_the_request_and_what_the_server(failure, kind, times):
    with serving(lambda body, before: failure) as served, pytest.raises(ServiceError) as raised:
        replace(CLIENT, url=served.url).reply(ASKED)
    assert type(raised.value) is kind and len(served.requests) == times


def test_nobody_there():
    with pytest.raises(ServiceError, match="no answer after 3 attempts") as raised:
        CLIENT.reply(ASKED)
    assert type(raised.value) is ServiceError


def test_the_key_is_not_repeated(monkeypatch):
    monkeypatch.setenv("O3V_TEST_KEY", "top-secret")
    with (
        serving(lambda body, before: (401, "bad key top-secret", {})) as served,
        pytest.raises(ServiceError, match=r"bad key \*\*\*.*O3V_TEST_KEY") as raised,
    ):
        replace(CLIENT, url=served.url).reply(ASKED)
    assert "top-secret" not in str(raised.value) + repr(CLIENT)
    with serving(lambda body, before: (200, said("your key is top-secret"), {})) as served:
        assert replace(CLIENT, url=served.url).reply(ASKED) == "your key is ***"


def test_redirections_are_refused(monkeypatch):
    """They would carry the key elsewhere."""
    monkeypatch.setenv("O3V_TEST_KEY", "secret")
    with serving(fine) as other:
        with (
            serving(lambda body, before: (302, "", {"Location": other.url})) as served,
            pytest.raises(ServiceError, match="302"),
        ):
            replace(CLIENT, url=served.url).reply(ASKED)
        assert other.requests == []


def test_a_long_wait_of_the_server_is_taken_as_a_minute(monkeypatch):
    slept = []
    monkeypatch.setattr(time, "sleep", slept.append)
    busy = serving(lambda body, before: (429, "", {"Retry-After": "86400"} if before else {}))
    with busy as served, pytest.raises(ServiceError):
        replace(CLIENT, url=served.url, backoff_s=3.0).reply(ASKED)
    assert slept == [3.0, 60.0]


@given(st.floats(0.1, 1000.0), st.lists(st.floats(0.0, 100.0), max_size=30))
def test_turns_are_apart(per_s, moments):
    pace, turns = Pace(per_s), []
    for now in sorted(moments):
        turns.append(now + pace.delay_s(now))
    assert all(b - a >= 1 / per_s - 1e-6 for a, b in pairwise(turns))


def test_the_pace_holds_over_threads():
    pace, turns, lock = Pace(100.0), [], threading.Lock()

    def take():
        for _ in range(5):
            delay = pace.delay_s(0.0)
            with lock:
                turns.append(round(delay, 6))

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(turns) == [round(n * 0.01, 6) for n in range(20)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"url": "localhost:1"}, "client.url"),
        ({"url": "file:///etc/passwd"}, "client.url"),
        ({"concurrency": 0}, "client.concurrency"),
        ({"timeout_s": 0}, "timeout"),
        ({"requests_per_s": 0.0}, "requests_per_s"),
    ],
)
def test_wrong_settings_are_named(change, message):
    with pytest.raises(ConfigError, match=message):
        replace(CLIENT, **change)


@pytest.mark.parametrize("content", ["", "{", "[1]", '"a"', "[" * 100_000])
def test_a_broken_record_is_none(tmp_path, content):
    kept, key = KeptFiles(str(tmp_path)), request_key("m", ["a"])
    assert kept.read(key) is None
    kept.write(key, {"reply": "é\ud800"})
    assert kept.read(key) == {"reply": "é\ud800"}
    next(tmp_path.rglob("*.json")).write_text(content)
    assert kept.read(key) is None
