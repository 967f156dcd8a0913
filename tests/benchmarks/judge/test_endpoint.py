"""The judge behind an endpoint: protocol, failures that pass and those that do not, replies kept."""

import json
import time
from dataclasses import replace

import pytest

from o3v.benchmarks.judge.cache import KeptReplies
from o3v.benchmarks.judge.endpoint import EndpointJudge
from o3v.benchmarks.question import ToJudge
from o3v.errors import ConfigError, ServiceError
from tests.benchmarks.judge.server import said, serving

JUDGE = EndpointJudge("http://127.0.0.1:9/v1", "m-7b", "O3V_TEST_KEY", 0.0, 16, 5.0, 2, 0.01, 4)


def requests(n=6):
    return [ToJudge(f"q{i}", "t", f"a{i}", ({"role": "user", "content": f"grade {i % 5}"},)) for i in range(n)]


def grades(body, before):
    return 200, said(body["messages"][0]["content"].split()[1]), {}


def test_the_protocol(monkeypatch):
    monkeypatch.setenv("O3V_TEST_KEY", "secret")
    with serving(grades) as served:
        replies = dict(replace(JUDGE, url=served.url + "/").replies(requests()))
    assert replies == {i: str(i % 5) for i in range(6)}
    assert set(served.paths) == {"/v1/chat/completions"}
    assert served.requests[0].keys() == {"model", "messages", "temperature", "max_tokens"}
    assert served.requests[0]["model"] == "m-7b" and served.headers[0]["Authorization"] == "Bearer secret"


def test_without_a_key_none_is_sent(monkeypatch):
    monkeypatch.delenv("O3V_TEST_KEY", raising=False)
    with serving(grades) as served:
        list(replace(JUDGE, url=served.url).replies(requests(1)))
    assert "Authorization" not in served.headers[0]


def test_several_requests_are_under_way_at_once():
    def slow(body, before):
        time.sleep(0.1)
        return grades(body, before)

    with serving(slow) as served:
        assert len(dict(replace(JUDGE, url=served.url, concurrency=3).replies(requests(9)))) == 9
    assert 2 <= served.most_at_once <= 3


@pytest.mark.parametrize(
    "failure",
    [(500, "oops", {}), (429, "slow down", {"Retry-After": "0.01"}), (200, "no json", {}), (200, {"choices": []}, {})],
)
def test_failures_that_pass_are_tried_again(failure):
    with serving(lambda body, before: failure if before < 2 else grades(body, before)) as served:
        assert dict(replace(JUDGE, url=served.url).replies(requests(2))) == {0: "0", 1: "1"}
    assert len(served.requests) == 6


def test_a_time_out_passes():
    def late(body, before):
        time.sleep(0.5 if before == 0 else 0)
        return grades(body, before)

    with serving(late) as served:
        assert replace(JUDGE, url=served.url, timeout_s=0.2).reply(requests(1)[0]) == "0"


def test_failures_that_stay_are_told_with_the_servers_words():
    with (
        serving(lambda body, before: (401, '{"error": "bad key"}', {})) as served,
        pytest.raises(ServiceError, match=r"401.*bad key.*O3V_TEST_KEY"),
    ):
        list(replace(JUDGE, url=served.url).replies(requests(3)))
    assert len(served.requests) <= 3
    with pytest.raises(ServiceError, match="no answer after 3 attempts"):
        list(JUDGE.replies(requests(1)))


def test_a_message_without_text_is_an_empty_reply():
    with serving(lambda body, before: (200, said(None), {})) as served:
        assert replace(JUDGE, url=served.url).reply(requests(1)[0]) == ""


def test_replies_are_kept_by_content(tmp_path):
    with serving(grades) as served:
        kept = KeptReplies(replace(JUDGE, url=served.url), str(tmp_path))
        first = dict(kept.replies(requests(8)))
        assert len(served.requests) == 5  # three of the eight say the same
        moved = KeptReplies(replace(JUDGE, url=served.url, timeout_s=1.0), str(tmp_path))
        assert dict(moved.replies(requests(8))) == first and len(served.requests) == 5
        other = KeptReplies(replace(JUDGE, url=served.url, model="m-72b"), str(tmp_path))
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
        judge = replace(JUDGE, url=served.url, concurrency=1)
        with pytest.raises(ServiceError):
            list(KeptReplies(judge, str(tmp_path)).replies(requests(5)))
    assert len(list(tmp_path.rglob("*.json"))) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [({"url": "localhost:1"}, "judge.url"), ({"concurrency": 0}, "judge.concurrency"), ({"timeout_s": 0}, "timeout")],
)
def test_wrong_settings_are_named(change, message):
    with pytest.raises(ConfigError, match=message):
        replace(JUDGE, **change)
