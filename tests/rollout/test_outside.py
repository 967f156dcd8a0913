"""An engine outside of training: the same completions as one's own, and every way to be wrong is caught."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from o3v.errors import ConfigError
from o3v.models.load import load_policy
from o3v.rollout.engine import Drawn, EngineAway, EngineFault, Reply, Rules, StaleWeights
from o3v.rollout.outside import check_reply, check_whole, collapsed
from o3v.rollout.remote import RemoteEngine
from o3v.rollout.sampler import Sampling, sample_completions
from o3v.rollout.serving import ServerSettings
from tests import tiny
from tests.rollout.engine_server import Deaf, OtherTokens, PolicyEngine, opened, served, settings_of

SAMPLING = Sampling(group_size=2, temperature=0.9, top_p=1.0, top_k=0, max_new_tokens=6, decoder="eager")
SEEDS = [10, 11, 1 << 60, (1 << 60) + 1]
RULES = Rules(1.0, 1.0, 0, 4, eos_id=2, banned_ids=(9,))


@pytest.fixture(scope="module", params=tiny.FAMILIES)
def policy(request):
    return tiny.random_policy(request.param)


@pytest.fixture(scope="module")
def qwen():
    return tiny.random_policy("qwen2_5_vl")


def prompts_of(policy):
    return [tiny.clip_prompt(policy, 3, 1), tiny.still_prompt(policy, 2)]


def drawn_by(engine, policy, folder, sampling=SAMPLING, **changes):
    prompts = prompts_of(policy)
    with served(engine, folder) as url:
        outside = opened(url, folder, **changes).sampler
        outside.follow(policy, 0)
        return outside.sample(policy, prompts, policy.encode(prompts), sampling, SEEDS)


@pytest.mark.parametrize("sampling", [SAMPLING, replace(SAMPLING, top_p=0.8, top_k=20)])
def test_the_same_completions_as_the_own_engine(policy, tmp_path, sampling):
    found = drawn_by(PolicyEngine(policy.family.name), policy, tmp_path, sampling)
    wanted = sample_completions(policy, policy.encode(prompts_of(policy)), sampling, SEEDS)
    assert torch.equal(found.ids[found.completion_mask], wanted.ids[wanted.completion_mask])
    assert torch.equal(found.completion_mask, wanted.completion_mask)
    assert (found.logprobs - wanted.logprobs).abs().max() < 1e-5
    assert found.texts == wanted.texts


def test_weights_are_brought_once_a_batch_and_written_whole(qwen, tmp_path):
    engine, prompts = PolicyEngine(), prompts_of(qwen)
    encoded = qwen.encode(prompts)
    with served(engine, tmp_path) as url:
        outside = opened(url, tmp_path).sampler
        for batch in (0, 0, 1):
            outside.follow(qwen, batch)
            outside.sample(qwen, prompts, encoded, SAMPLING, SEEDS)
        assert engine.loads == ["run/0", "run/1"]
        assert [path.name for path in (tmp_path / "run").iterdir()] == ["weights-1"]
        outside.close()
    assert not (tmp_path / "run").exists()


def test_weights_put_together_from_several_processes_are_written_like_others(tmp_path):
    """The policy's own are then parts; what is brought is what was gathered."""
    base = load_policy(tiny.spec("qwen2_5_vl"), tiny.saved_policy("qwen2_5_vl", tmp_path / "base"))
    gathered = {name: value * 1.25 for name, value in base.model.state_dict().items()}
    with served(PolicyEngine(), tmp_path) as url:
        outside = opened(url, tmp_path).sampler
        outside.follow(base, 0, gathered)
        written = load_policy(tiny.spec("qwen2_5_vl"), tmp_path / "run" / "weights-0").model.state_dict()
    assert written.keys() == gathered.keys()
    assert all(torch.equal(value, gathered[name]) for name, value in written.items())


def test_an_engine_that_ignores_new_weights_is_caught(qwen, tmp_path):
    with served(Deaf(), tmp_path) as url:
        outside = opened(url, tmp_path).sampler
        outside.follow(qwen, 0)
        with pytest.raises(StaleWeights, match=r"'run/1' and still has 'run/0'"):
            outside.follow(qwen, 1)


def test_an_answer_of_other_weights_is_refused(qwen, tmp_path):
    class Late(PolicyEngine):
        def draw(self, asks, rules, version):
            return replace(super().draw(asks, rules, version), version="run/-1")

    with pytest.raises(StaleWeights, match=r"drew with weights 'run/-1', wanted 'run/0'"):
        drawn_by(Late(), qwen, tmp_path)


def test_an_engine_that_reads_other_tokens_is_caught(qwen, tmp_path):
    with pytest.raises(EngineFault, match=r"prompt 0: the engine read \d+ tokens, training reads \d+"):
        drawn_by(OtherTokens(), qwen, tmp_path)


def test_a_server_that_is_away_is_named_with_its_address(qwen, tmp_path):
    outside = opened("http://127.0.0.1:9", tmp_path).sampler
    with pytest.raises(EngineAway, match=r"http://127.0.0.1:9: .*o3v.serve_rollouts"):
        outside.follow(qwen, 0)


def test_a_server_that_dies_is_waited_for_and_the_step_is_the_same(qwen, tmp_path):
    prompts = prompts_of(qwen)
    encoded = qwen.encode(prompts)
    with served(PolicyEngine(), tmp_path) as url:
        outside = opened(url, tmp_path, patience_s=30.0).sampler
        outside.follow(qwen, 0)
        wanted = outside.sample(qwen, prompts, encoded, SAMPLING, SEEDS)
    again, done = PolicyEngine(), threading.Event()

    def come_back():
        time.sleep(0.3)
        with served(again, tmp_path, int(url.rpartition(":")[2])):
            done.wait(30)

    thread = threading.Thread(target=come_back)
    thread.start()
    found = outside.sample(qwen, prompts, encoded, SAMPLING, SEEDS)
    done.set()
    thread.join()
    assert again.loads == ["run/0"], "a server that was started again is given the weights again"
    assert torch.equal(found.ids, wanted.ids)
    assert torch.equal(found.logprobs, wanted.logprobs)


def test_other_processes_wait_for_the_first(qwen, tmp_path):
    with served(PolicyEngine(), tmp_path) as url:
        first, second = (settings_of(url, tmp_path, patience_s=30.0).open(tmp_path, "run", k).sampler for k in (0, 1))
        waiting = threading.Thread(target=second.follow, args=(qwen, 0))
        waiting.start()
        first.follow(qwen, 0)
        waiting.join(30)
        assert not waiting.is_alive()
        with pytest.raises(StaleWeights, match="have not come"):
            settings_of(url, tmp_path).open(tmp_path, "run", 1).sampler.follow(qwen, 5)


def test_the_key_opens_the_server(qwen, tmp_path, monkeypatch):
    monkeypatch.setenv("O3V_TEST_ENGINE_KEY", "secret")
    with served(PolicyEngine(), tmp_path) as url:
        assert RemoteEngine(url, 5.0, "O3V_TEST_ENGINE_KEY").version() is None
        with pytest.raises(EngineFault, match="401"):
            RemoteEngine(url, 5.0, "O3V_NO_KEY").version()


def test_a_server_for_others_wants_a_key(monkeypatch):
    monkeypatch.delenv("O3V_TEST_ENGINE_KEY", raising=False)
    with pytest.raises(ConfigError, match="can be reached from other machines"):
        ServerSettings("0.0.0.0", 1, ".", "O3V_TEST_ENGINE_KEY").key()


@pytest.mark.parametrize("folder", ["/etc", "missing"])
def test_weights_come_from_below_the_root_only(tmp_path, folder):
    with served(PolicyEngine(), tmp_path) as url, pytest.raises(EngineFault, match=r"below|config\.json"):
        RemoteEngine(url, 5.0, "O3V_NO_KEY").load(str(tmp_path / folder), "v")


@pytest.mark.parametrize("key", ["", "not a url", "ftp://x"])
def test_an_address_must_be_one(key):
    with pytest.raises(ConfigError, match=r"engine\.url"):
        RemoteEngine(key, 1.0, "K")


@pytest.mark.parametrize(
    ("drawn", "fault"),
    [
        (Drawn((), ()), "0 tokens"),
        (Drawn((1, 1, 1, 1, 2), (-1.0,) * 5), "5 tokens"),
        (Drawn((1, 2), (-1.0,)), "1 log-probabilities"),
        (Drawn((9, 2), (-1.0, -1.0)), "token 9 may never"),
        (Drawn((50, 2), (-1.0, -1.0)), "token 50 may never"),
        (Drawn((2, 1), (-1.0, -1.0)), "goes on after the end"),
        (Drawn((1, 1), (-1.0, -1.0)), "without the end"),
        (Drawn((1, 2), (-1.0, float("nan"))), "log-probability of nan"),
        (Drawn((1, 2), (-1.0, 0.5)), "log-probability of 0.5"),
    ],
)
def test_completions_that_cannot_be_are_refused(drawn, fault):
    with pytest.raises(EngineFault, match=rf"prompt 0, completion 0: .*{fault}"):
        check_reply(Reply("v", ((1,),), ((drawn,),)), [(1,)], RULES, 1, 20, "there")
    check_reply(Reply("v", ((1,),), ((Drawn((1, 2), (-1.0, 0.0)),),)), [(1,)], RULES, 1, 20, "there")


@given(st.lists(st.tuples(st.integers(1, 5), st.lists(st.integers(0, 8), min_size=1, max_size=4))))
def test_collapsing_keeps_one_placeholder_a_picture(parts):
    full = [token for size, text in parts for token in [*[99] * size, *text]]
    short = [token for _, text in parts for token in [99, *text]]
    assert list(collapsed(full, 99)) == short


def test_a_native_video_is_refused(qwen, tmp_path):
    prompt = tiny.clip_prompt(qwen, 4, 1)
    video = replace(prompt, parts=((0, 1, 2, 3), "When?"))
    with served(PolicyEngine(), tmp_path) as url:
        outside = opened(url, tmp_path).sampler
        outside.follow(qwen, 0)
        with pytest.raises(ConfigError, match="native videos"):
            outside.sample(qwen, [video], qwen.encode([video]), SAMPLING, [1, 2])


def test_weights_in_parts_are_refused(qwen):
    weight = next(qwen.model.parameters())
    weight.ds_id = 0
    try:
        with pytest.raises(ConfigError, match="spread over processes"):
            check_whole(qwen)
    finally:
        del weight.ds_id
