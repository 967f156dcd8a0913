"""What vLLM is told and how its answers are read, against a stand-in with the same classes and attributes.

No vLLM installs beside this project, so this shows that the adapter does what vLLM's documentation describes, not that
vLLM does: docs/rollout_engines.md says the same.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch

from o3v.errors import ConfigError
from o3v.models.load import save_policy
from o3v.rollout.draw import Sampling
from o3v.rollout.engine import Ask, EngineFault, Rules, StaleWeights
from o3v.rollout.outside import OutsideEngine
from o3v.rollout.sampler import sample_completions
from o3v.rollout.vllm_engine import VllmEngine, VllmSettings, sampling_arguments
from tests import tiny
from tests.rollout.engine_server import PolicyEngine, settings_of

SETTINGS = VllmSettings("float32", 1, 0.4, None, 8, eager=True, sleeps=True)
SAMPLING = Sampling(group_size=2, temperature=1.0, top_p=1.0, top_k=0, max_new_tokens=5, decoder="eager")


class StandIn:
    """`vllm.LLM` as far as it is used, with the tiny policy inside."""

    made: ClassVar[list[StandIn]] = []

    def __init__(self, **arguments):
        self.arguments, self.calls, self.awake = arguments, [], True
        self.engine = PolicyEngine()
        self.engine.policy = self.engine.read(arguments["model"])
        StandIn.made.append(self)

    def collective_rpc(self, name, kwargs):
        assert self.awake
        self.calls.append(name)
        self.engine.policy = self.engine.read(kwargs["weights_path"])

    def reset_prefix_cache(self):
        self.calls.append("prefix")
        return True

    def reset_mm_cache(self):
        self.calls.append("mm")

    def reset_encoder_cache(self):
        self.calls.append("encoder")

    def sleep(self, level):
        self.awake = False

    def wake_up(self):
        self.awake = True

    def generate(self, prompts, parameters, use_tqdm):
        assert self.awake
        return [self._one(prompt, how) for prompt, how in zip(prompts, parameters, strict=True)]

    def _one(self, prompt, how):
        frames = tuple(np.array(image) for image in prompt["multi_modal_data"]["image"])
        ask = Ask(tuple(prompt["prompt_token_ids"]), frames, tuple(range(how.seed, how.seed + how.n)))
        banned = tuple(how.logit_bias)
        rules = Rules(how.temperature, how.top_p, how.top_k, how.max_tokens, how.stop_token_ids[0], banned)
        ids, group = self.engine.one(ask, rules)
        outputs = [
            SimpleNamespace(
                index=k,
                token_ids=list(one.ids),
                logprobs=[{t: SimpleNamespace(logprob=v)} for t, v in zip(one.ids, one.logprobs, strict=True)],
            )
            for k, one in enumerate(group)
        ]
        return SimpleNamespace(prompt_token_ids=list(ids), outputs=outputs[::-1])  # in whatever order they end


@pytest.fixture
def vllm(monkeypatch):
    library = SimpleNamespace(LLM=StandIn, SamplingParams=SimpleNamespace, __version__="0.0")
    monkeypatch.setitem(sys.modules, "vllm", library)
    StandIn.made.clear()
    return library


def test_drawn_through_it_as_by_the_own_engine(vllm, tmp_path):
    policy = tiny.random_policy("qwen2_5_vl")
    prompts = [tiny.clip_prompt(policy, 3, 1), tiny.still_prompt(policy, 2)]
    outside = OutsideEngine(VllmEngine(SETTINGS), tmp_path, "run", True, 0.0, 1.0)
    for batch in (0, 1):
        with torch.no_grad():
            policy.model.lm_head.weight.mul_(1.0 + batch)
        outside.follow(policy, batch)
        found = outside.sample(policy, prompts, policy.encode(prompts), SAMPLING, [10, 11, 20, 21])
        wanted = sample_completions(policy, policy.encode(prompts), SAMPLING, [10, 11, 20, 21])
        assert torch.equal(found.ids, wanted.ids)
        assert (found.logprobs - wanted.logprobs).abs().max() < 1e-5
    (llm,) = StandIn.made
    assert llm.calls == ["reload_weights", "prefix", "mm", "encoder"], "everything that old weights computed is dropped"
    assert llm.arguments["logprobs_mode"] == "processed_logprobs"
    assert llm.arguments["mm_processor_kwargs"] == {"do_resize": False}
    assert not llm.awake, "the memory is given back while training computes"


def test_old_weights_are_refused(vllm):
    with pytest.raises(StaleWeights, match=r"asked for weights 'run/1', has None"):
        VllmEngine(SETTINGS).draw([], Rules(1.0, 1.0, 0, 4, 2, ()), "run/1")


@pytest.mark.parametrize("answer", [None, False])
def test_a_cache_that_stays_is_an_error(vllm, tmp_path, answer, monkeypatch):
    folder = str(tiny.saved_policy("qwen2_5_vl", tmp_path / "model"))
    engine = VllmEngine(SETTINGS)
    engine.load(folder, "a")
    llm = StandIn.made[0]
    llm.llm_engine = SimpleNamespace()
    monkeypatch.setattr(llm, "reset_encoder_cache", answer if answer is None else lambda: answer, raising=False)
    with pytest.raises(EngineFault, match="reset_encoder_cache"):
        engine.load(folder, "b")
    assert engine.version() is None, "half old, half new is neither"


def test_the_seeds_of_a_prompt_are_consecutive():
    rules = Rules(0.7, 0.9, 20, 16, 2, (5, 6))
    found = sampling_arguments(rules, (7, 8, 9))
    assert (found["n"], found["seed"], found["max_tokens"]) == (3, 7, 16)
    assert (found["temperature"], found["top_p"], found["top_k"]) == (0.7, 0.9, 20)
    with pytest.raises(EngineFault, match="consecutive"):
        sampling_arguments(rules, (7, 9))


def test_without_vllm_the_message_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(ConfigError, match=r"requirements-vllm\.txt"):
        VllmEngine(SETTINGS)


@pytest.mark.parametrize("changes", [{"gpu_memory_share": 0.0}, {"tensor_parallel": 0}, {"max_images": 0}])
def test_settings_that_cannot_be(changes):
    with pytest.raises(ConfigError, match=f"vllm.{next(iter(changes))}"):
        replace(SETTINGS, **changes)


@pytest.mark.parametrize(
    ("changes", "old", "sampling", "text"),
    [
        ({}, "rollout", SAMPLING, "old_logprobs=recompute"),
        ({"max_gap": 0.0}, "recompute", SAMPLING, "max_gap"),
        ({"url": "here"}, "recompute", SAMPLING, "engine.url"),
        ({"pause_s": 0.0}, "recompute", SAMPLING, "pause_s"),
        ({}, "recompute", replace(SAMPLING, temperature=0.0), "temperature=0"),
    ],
)
def test_what_does_not_go_together_is_told_before_anything_is_loaded(tmp_path, changes, old, sampling, text):
    settings = settings_of("http://127.0.0.1:1", tmp_path)
    settings.check(SAMPLING, "recompute")
    with pytest.raises(ConfigError, match=text):
        replace(settings, **changes).check(sampling, old)


def test_the_exported_folder_is_what_an_engine_reads(tmp_path):
    save_policy(tiny.random_policy("qwen2_5_vl"), tmp_path / "m")
    names = {path.name for path in (tmp_path / "m").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names
