"""The judge behind an endpoint: protocol, failures that pass and those that do not, replies kept."""

import json
import time
from dataclasses import replace

import pytest

from o3v.benchmarks.judge.cache import KeptReplies
from o3v.benchmarks.judge.endpoint import EndpointJudge
from o3v.benchmarks.question import ToJudge
from o3v.endpoint.client import ChatClient
from o3v.endpoint.loopback import said, serving
from o3v.errors import ServiceError

CLIENT = ChatClient("http://127.0.0.1:9/v1", "m-7b", "O3V_TEST_KEY", 0.0, 16, 5.0, 2, 0.01, 4, None)


def judge(**changes):
    return EndpointJudge(replace(CLIENT, **changes))


def requests(n=6):
    return [ToJudge(f"q{i}", "t", f"a{i}", ({"role": "user", "content": f"grade {i % 5}"},)) for i in range(n)]


def grades(body, before):
    return 200, said(body["messages"][0]["content"].split()[1]), {}


def test_the_protocol(monkeypatch):
    monkeypatch.setenv("O3V_TEST_KEY", "secret")
    with serving(grades) as served:
        replies = dict(judge(url=served.url + "/").replies(requests()))
    assert replies == {i: str(i % 5) for i in range(6)}
    assert set(served.paths) == {"/v1/chat/completions"}
    assert served.requests[0].keys() == {"model", "messages", "temperature", "max_tokens"}
    assert served.requests[0]["model"] == "m-7b" and served.headers[0]["Authorization"] == "Bearer secret"


def test_several_requests_are_under_way_at_once():
    def slow(body, before):
        time.sleep(0.1)
        return grades(body, before)

    with serving(slow) as served:
        assert len(dict(judge(url=served.url, concurrency=3).replies(requests(9)))) == 9
    assert 2 <= served.most_at_once <= 3


def test_failures_that_stay_are_told_with_the_servers_words():
    with (
        serving(lambda body, before: (401, '{"error": "bad key"}', {})) as served,
        pytest.raises(ServiceError, match=r"401.*bad key.*O3V_TEST_KEY"),
    ):
        list(judge(url=served.url).replies(requests(3)))
    assert len(served.requests) <= 3
    with pytest.raises(ServiceError, match="no answer after 3 attempts"):
        list(judge().replies(requests(1)))


def test_a_message_without_text_is_an_empty_reply():
    with serving(lambda body, before: (200, said(None), {})) as served:
        assert judge(url=served.url).reply(requests(1)[0]) == ""


def test_replies_are_kept_by_content(tmp_path):
    with serving(grades) as served:
        kept = KeptReplies(judge(url=served.url), str(tmp_path))
        first = dict(kept.replies(requests(8)))
        assert len(served.requests) == 5  # three of the eight say the same
        moved = KeptReplies(judge(url=served.url, timeout_s=1.0), str(tmp_path))
        assert dict(moved.replies(requests(8))) == first and len(served.requests) == 5
        other = KeptReplies(judge(url=served.url, model="m-72b"), str(tmp_path))
        assert dict(other.replies(requests(8))) == first and len(served.requests) == 10
        broken = next(tmp_path.rglob("*.json"))
        broken.write_text("{")
        assert dict(kept.replies(requests(8))) == first and dict(other.replies(requests(8))) == first
        assert len(served.requests) == 11
    content = json.loads(broken.read_text())
    assert content["reply"] in "01234" and content["messages"][0]["role"] == "user"


def test_what_came_before_a_failure_is_kept(tmp_path):
    def dies(body, before):
        return grades(body, before) if body["messages"][0]["content"] < "grade 3" else (400, "no", {})

    with serving(dies) as served:
        one = judge(url=served.url, concurrency=1)
        with pytest.raises(ServiceError):
            list(KeptReplies(one, str(tmp_path)).replies(requests(5)))
    assert len(list(tmp_path.rglob("*.json"))) == 3
