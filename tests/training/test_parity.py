"""The guard before an RL run: it lets the right training pass through and names where a wrong one differs."""

import math
import re
from dataclasses import replace
from functools import partial

import pytest
import torch

from o3v.config import build
from o3v.errors import ConfigError, ParityError
from o3v.models.logprobs import dense_scores, packed_scores
from o3v.rollout.sampler import Sampling, sample_completions
from o3v.training import parity
from o3v.training.parity import ParityReport, check_parity, tolerance_for
from tests import commands, tiny
from tests.commands import GROUP, LETTERS, QUIET, SMALL, metrics, run_folder
from tests.test_resume import Stop, stop_after
from tests.training.steps import batch_of, learner_of

TOLERANCE = 1e-3
LONG = Sampling(group_size=3, temperature=0.8, top_p=0.95, top_k=0, max_new_tokens=20, decoder="eager")


@pytest.fixture(scope="module")
def batch(policy):
    return batch_of(policy, tiny.mixed_prompts(policy))


def dense(policy, prompts, ids, mask, temperature=LONG.temperature):
    return dense_scores(policy, prompts, ids, mask, temperature).logprobs


def packed(policy, prompts, ids, mask):
    return packed_scores(policy, prompts, ids, mask, LONG.temperature).logprobs


def check(policy, batch, score=dense, prompts=2, tolerance=TOLERANCE):
    return check_parity(learner_of(policy, sampling=LONG), batch, score, prompts, tolerance)


@pytest.mark.parametrize("score", [dense, packed])
def test_the_right_pass_agrees(policy, batch, score):
    report = check(policy, batch, score)
    assert report.prompts == 2 and 4 <= report.tokens <= 2 * 2 * 20
    assert 0 <= report.mean_abs <= report.max_abs < 2e-5
    assert report.metrics() == {"parity/max_abs": report.max_abs, "parity/mean_abs": report.mean_abs}


def test_a_batch_with_fewer_prompts(policy, batch):
    assert check(policy, batch, prompts=9).prompts == 3


def test_greedy_completions(policy, batch):
    learner = learner_of(policy, sampling=replace(LONG, temperature=0.0))
    report = check_parity(learner, batch, lambda *given: dense(*given, temperature=1.0), 1, TOLERANCE)
    assert report.max_abs < 2e-5


def test_under_gradient_checkpointing(fresh_policy, batch):
    fresh_policy.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    assert check(fresh_policy, batch).max_abs < 2e-5
    assert not fresh_policy.model.training


def test_half_precision_agrees_by_the_tolerance_of_the_settings(fresh_policy, batch):
    """The figures behind conf/trainer: bf16 is some 1e-2 nats apart where fp32 is 1e-6, a wrong pass 1e-1 and more."""
    half = replace(fresh_policy, model=fresh_policy.model.bfloat16())
    report = check(half, batch, tolerance=0.05)
    assert 1e-4 < report.mean_abs < 0.025
    with pytest.raises(ParityError, match="nats apart on average"):
        check(half, batch)


def test_nothing_of_the_run_depends_on_it(fresh_policy, batch):
    before = {name: value.clone() for name, value in fresh_policy.model.state_dict().items()}
    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    one = check(fresh_policy, batch)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.rand(5)
    assert check(fresh_policy, batch) == one
    assert all(torch.equal(value, before[name]) for name, value in fresh_policy.model.state_dict().items())
    assert all(weight.grad is None for weight in fresh_policy.model.parameters())
    assert all(weight.requires_grad for weight in fresh_policy.model.parameters())


# ---- wrong training passes


def shifted(policy, prompts, ids, mask):
    """Every token gets the score of the one before."""
    return dense(policy, prompts, ids, mask).roll(1, 1) * mask


def without_types(policy, prompts, ids, mask):
    """Positions without the frames' rows and columns."""
    return dense(policy, replace(prompts, mm_token_type_ids=torch.zeros_like(prompts.mm_token_type_ids)), ids, mask)


def one_further(policy, prompts, ids, mask):
    """Completions that start one position late, behind a token that is not there."""
    late = torch.nn.functional.pad(ids, (1, 0), value=policy.pad_id)
    gap = torch.nn.functional.pad(mask, (1, 0), value=True)
    return dense(policy, prompts, late, gap)[:, 1:] * mask


def cooler(policy, prompts, ids, mask):
    return dense(policy, prompts, ids, mask, temperature=0.7)


def undefined(policy, prompts, ids, mask):
    return torch.where(mask, math.nan, 0.0)


@pytest.mark.parametrize("score", [shifted, without_types, one_further, cooler, undefined])
@pytest.mark.parametrize("tolerance", [TOLERANCE, 0.05])
def test_a_wrong_pass_is_caught(policy, batch, score, tolerance):
    with pytest.raises(ParityError, match=r"sample s[01], completion [01], position \d+ \(token .*nats apart"):
        check(policy, batch, score, tolerance=tolerance)


def test_the_message_says_where_and_what(policy, batch):
    """Only the second prompt's second completion is wrong, from its third token on."""
    seen = {}

    def score(policy, prompts, ids, mask):
        scores = dense(policy, prompts, ids, mask)
        seen["right"] = float(scores[3, 2])
        scores[3, 2:] -= mask[3, 2:] * 0.5
        return scores

    found = r"sample s1, completion 1, position 2 .*log-probability (\S+), the training pass gives (\S+)\. "
    with pytest.raises(ParityError, match=found) as error:
        check(policy, batch, score)
    drawn, scored = map(float, re.search(found, str(error.value)).groups())
    assert abs(drawn - seen["right"]) < 1e-4 and abs(scored - seen["right"] + 0.5) < 1e-4


def test_one_wrong_token_is_caught_by_its_height(policy, batch):
    def score(policy, prompts, ids, mask):
        scores = dense(policy, prompts, ids, mask)
        scores[0, 1] -= 0.04
        return scores

    assert check(policy, batch, score, tolerance=0.005).max_abs == pytest.approx(0.04, abs=1e-4)
    with pytest.raises(ParityError, match=r"sample s0, completion 0, position 1"):
        check(policy, batch, score, tolerance=0.0015)


def without_last(policy, prompts, ids, mask):
    """The end of a completion is not scored, as after a text was tokenized anew without it."""
    inner = mask & torch.nn.functional.pad(mask[:, 1:], (0, 1), value=False)
    return dense(policy, prompts, ids, mask) * inner


def narrower(policy, prompts, ids, mask):
    return dense(policy, prompts, ids, mask)[:, :-1]


def padding_too(policy, prompts, ids, mask):
    return dense(policy, prompts, ids, mask) - 1.0 * ~mask


def end_early(policy, batch, monkeypatch):
    """Rows of different length: a random model hardly ever ends, so a token that it has drawn stands for the end."""
    encoded = batch.encoded.select([0, 1])
    drawn = sample_completions(policy, encoded, replace(LONG, group_size=2), [parity._SEED + k for k in range(4)])
    end = int(drawn.ids[0, 3])
    monkeypatch.setattr(parity, "sample_completions", partial(sample_completions, eos_id=end))


def test_completions_of_different_length(policy, batch, monkeypatch):
    whole = check(policy, batch).tokens
    end_early(policy, batch, monkeypatch)
    for score in (dense, packed):
        report = check(policy, batch, score)
        assert report.max_abs < 2e-5 and report.tokens < whole


@pytest.mark.parametrize("score", [without_last, narrower, padding_too])
def test_another_number_of_tokens_is_caught(policy, batch, score, monkeypatch):
    end_early(policy, batch, monkeypatch)
    with pytest.raises(ParityError, match=r"sample s[01].*the rollout drew \d+ tokens.*the training pass scores"):
        check(policy, batch, score)


# ---- configured


def test_the_tolerance_is_that_of_the_numbers_in_use(fresh_policy):
    given = {"float32": 1.0, "bfloat16": 2.0}
    assert tolerance_for(fresh_policy, given) == 1.0
    with torch.autocast("cpu", torch.bfloat16):
        assert tolerance_for(fresh_policy, given) == 2.0
    half = replace(fresh_policy, model=fresh_policy.model.half())
    with pytest.raises(ConfigError, match=r"trainer\.parity_tolerance has no value for float16.*bfloat16"):
        tolerance_for(half, given)


def test_reports_are_compared_by_value():
    assert ParityReport(1, 2, 0.1, 0.05) == ParityReport(1, 2, 0.1, 0.05)


ARGUMENTS = ("model=tiny_qwen2_5_vl", "logger=jsonl", "objective=gspo", "trainer.batches=2", *QUIET, *SMALL, *LETTERS)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return tiny.saved_policy("qwen2_5_vl", tmp_path_factory.mktemp("base") / "model", 1.5)


def test_a_run_looks_once_and_learns_the_same(weights, tmp_path):
    found = []
    for prompts in (2, 0):
        out = tmp_path / str(prompts)
        commands.run("train", out, *ARGUMENTS, GROUP, f"init_from={weights}", f"trainer.parity_prompts={prompts}")
        found.append(metrics(run_folder(out, "train")))
    guarded, plain = found
    extra = {(0, "train/parity/max_abs"), (0, "train/parity/mean_abs")}
    assert guarded.keys() - plain.keys() == extra
    assert all(float(guarded[key]) < 1e-4 for key in extra)
    assert all(guarded[key] == plain[key] for key in plain)


def test_a_run_that_disagrees_stops_before_it_learns(weights, tmp_path):
    given = (f"init_from={weights}", "trainer.parity_tolerance.float32=1e-12")
    with pytest.raises(ParityError, match=r"sample .*trainer\.parity_tolerance"):
        commands.run("train", tmp_path, *ARGUMENTS, GROUP, *given)
    assert not (run_folder(tmp_path, "train") / "metrics.jsonl").exists()


def test_a_continued_run_looks_again_and_measures_the_same(weights, tmp_path, monkeypatch, caplog):
    given = (*ARGUMENTS, "rollout.group_size=2", f"init_from={weights}", "trainer.save_every=1")
    commands.run("train", tmp_path / "whole", *given)
    with monkeypatch.context() as patch, pytest.raises(Stop):
        stop_after(1, patch)
        commands.run("train", tmp_path / "cut", *given)
    caplog.set_level("INFO", logger="o3v.training.parity")
    caplog.clear()
    commands.run("train", tmp_path / "cut", *given)
    assert caplog.text.count("rollout and training agree on") == 1
    whole, cut = (metrics(run_folder(tmp_path / name, "train")) for name in ("whole", "cut"))
    assert whole == cut and (0, "train/parity/mean_abs") in whole


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("trainer.parity_prompts=-1", r"trainer\.parity_prompts=-1"),
        ("trainer.parity_tolerance.bfloat16=0", r"trainer\.parity_tolerance\.bfloat16=0"),
    ],
)
def test_settings_that_are_not_allowed(override, said, tmp_path):
    with pytest.raises(ConfigError, match=said):
        build(commands.composed("train", tmp_path, override), "trainer")
