"""Policy loss: golden values of both modes, wrong versions caught, properties."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from o3v.errors import ConfigError
from o3v.objectives import advantages, aggregation, kl, masked, policy, ratio
from o3v.objectives.aggregation import AGGREGATIONS, UpdateSize, aggregate
from o3v.objectives.policy import PolicyObjective
from o3v.objectives.ratio_metrics import merged_metrics
from o3v.objectives.surrogate import SURROGATES
from tests.objectives.golden_lines import SMALL, both, read_lines
from tests.objectives.made import GSPO, LEVELS, gradient, objective, random_case

GOLDEN_LEVELS = {"gspo": "sequence", "grpo": "token"}


def near(value, expected):
    return torch.allclose(torch.as_tensor(value), torch.as_tensor(expected), rtol=1e-5, atol=1e-6)


def completion_mask(line):
    ends = [line["completion_length"] if end is None else end + 1 for end in line["first_eos_index"]]
    return torch.arange(line["completion_length"]) < torch.tensor(ends).unsqueeze(-1)


def line_misses(line):
    """Names of the quantities of a golden line that this project computes differently."""
    expected, mask = line["expected"], completion_mask(line)
    rewards = torch.tensor(line["rewards_per_func"], dtype=torch.float32).sum(-1).view(-1, line["num_generations"])
    logprobs = torch.tensor(line["per_token_logps"], requires_grad=True)
    reference = torch.tensor(line["ref_per_token_logps"])
    old = torch.tensor(line["old_per_token_logps"]) if "old_per_token_logps" in line else logprobs.detach()
    corrected = line["expected_corrected"]
    found = {
        "mask": mask.int().tolist() == expected["completion_mask"],
        "advantages": near(
            advantages.group_advantages(rewards, "reference").flatten(), (corrected or expected)["advantages"]
        ),
        "kl": near(kl.k3(logprobs, reference), expected["per_token_kl"]),
        "kl metric": near(
            aggregate(kl.k3(logprobs, reference), mask, "sequence", 1).detach(), expected["metrics"]["kl"]
        ),
    }
    gains = advantages.group_advantages(rewards, "reference").flatten()
    for name, level in GOLDEN_LEVELS.items():
        made = objective(
            ratio_level=level, clip_low=line["epsilon_low"], clip_high=line["epsilon_high"], kl_coef=line["beta"]
        )
        ratio = made.ratio(logprobs, old, mask)
        output = made.loss(logprobs, old, reference, gains, mask)
        (slope,) = torch.autograd.grad(output.loss, logprobs)
        shown = mask if name == "grpo" else slice(None)
        found[f"{name} ratio"] = near(ratio[shown], torch.tensor(expected[name]["importance_ratio"])[shown])
        found[f"{name} clipped"] = near(
            made.clipped(ratio)[shown], torch.tensor(expected[name]["clipped_ratio"])[shown]
        )
        if corrected is None:
            found[f"{name} loss"] = near(output.loss.detach(), expected[name]["loss"])
            found[f"{name} gradient"] = near(slope, expected[name]["grad_wrt_per_token_logps"])
        else:
            found[f"{name} finite"] = bool(torch.isfinite(output.loss) and torch.isfinite(slope).all())
    return [name for name, right in found.items() if not right]


def misses(folder):
    return {line["id"]: wrong for line in read_lines(folder, "policy_loss") if (wrong := line_misses(line))}


@both
def test_golden(folder):
    assert misses(folder) == {}


def unmasked_mean(values, mask):
    return values.mean(-1)


def biased_std(rewards, mode):
    return (rewards - rewards.mean(-1, keepdim=True)) / (rewards.std(-1, keepdim=True, unbiased=False) + 1e-4)


def one_sided_clip(self, ratio):
    return ratio.clamp(max=1.0 + self.clip_high)


def token_mean(values, mask, *_):
    return masked.masked_sum(values, mask).sum() / mask.sum()


def unclamped(logprobs, ref_logprobs):
    return torch.exp(ref_logprobs - logprobs) - (ref_logprobs - logprobs) - 1.0


def turned_round(a, b, _):
    return torch.exp(a - b.detach()) - (a - b.detach()) - 1.0


MUTANTS = {
    "old log-probabilities are the current ones": (
        ratio, "token_log_ratio", lambda new, old, mask: torch.where(mask, new - new.detach(), 0.0 * new)
    ),
    "sum instead of mean of the log ratio": (ratio, "masked_mean", masked.masked_sum),
    "mean over padding too": (aggregation, "masked_mean", unmasked_mean),
    "mean over all tokens, not over rows": (policy, "aggregate", token_mean),
    "no lower clip": (PolicyObjective, "clipped", one_sided_clip),
    "no clip": (PolicyObjective, "clipped", lambda self, ratio: ratio),
    "largest instead of smallest": (policy, "clip_surrogate", lambda w, c, gain: torch.maximum(w * gain, c * gain)),
    "std with G in the denominator": (advantages, "group_advantages", biased_std),
    "advantages not scaled": (advantages, "group_advantages", lambda r, mode: r - r.mean(-1, keepdim=True)),
    "KL not clamped": (kl, "k3", unclamped),
    "KL turned round": (policy, "kl_estimate", turned_round),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTANTS)
def test_wrong_versions_are_caught(name, monkeypatch):
    owner, attribute, wrong = MUTANTS[name]
    monkeypatch.setattr(owner, attribute, wrong)
    assert misses(SMALL)


def test_the_ratio_of_grpo_in_gspo_is_caught(monkeypatch):
    monkeypatch.setitem(GOLDEN_LEVELS, "gspo", "token")
    wrong = misses(SMALL)
    modes = {line["id"]: line["mode"] for line in read_lines(SMALL, "policy_loss")}
    assert wrong
    assert {modes[name] for name in wrong} == {"off_policy"}  # on the policy the two cannot be told apart


levels = st.sampled_from(sorted(LEVELS.values()))
seeds = st.integers(0, 10_000)
shapes = st.fixed_dictionaries(
    {
        "ratio_level": levels,
        "surrogate": st.sampled_from(SURROGATES),
        "aggregation": st.sampled_from(AGGREGATIONS),
        "kl_estimator": st.sampled_from(kl.KL_ESTIMATORS),
        "kl_bias_correction": st.booleans(),
    }
)


@settings(max_examples=60, deadline=None)
@given(seeds, shapes, st.integers(1, 4))
def test_padding_changes_nothing(seed, shape, extra):
    made = objective(**shape)
    new, old, reference, gains, mask = random_case(seed)
    junk = torch.full((4, extra), math.nan)
    widened = [torch.cat([x, junk], dim=1).requires_grad_() for x in (new, old, reference)]
    plain = made.loss(new.requires_grad_(), old, reference, gains, mask)
    padded = made.loss(*widened, gains, torch.cat([mask, torch.zeros_like(junk, dtype=torch.bool)], dim=1))
    torch.testing.assert_close(padded.loss, plain.loss)
    for name, value in plain.metrics.items():
        torch.testing.assert_close(padded.metrics[name], value)
    padded.loss.backward()
    assert torch.isfinite(widened[0].grad).all()
    assert widened[1].grad is None
    assert widened[2].grad is None


@settings(max_examples=60, deadline=None)
@given(seeds, shapes, st.integers(1, 5))
def test_two_passes_make_the_update_of_one(seed, shape, cut):
    made = objective(**shape)
    new, old, reference, gains, mask = random_case(seed, rows=6)
    total = UpdateSize.of(mask)
    leaf = new.clone().requires_grad_()
    whole = made.loss(leaf, old, reference, gains, mask)
    parts = [
        made.loss(leaf[rows], old[rows], reference[rows], gains[rows], mask[rows], total)
        for rows in (slice(0, cut), slice(cut, 6))
    ]
    summed = parts[0].loss + parts[1].loss
    torch.testing.assert_close(summed, whole.loss)
    slopes = [torch.autograd.grad(loss, leaf)[0] for loss in (summed, whole.loss)]
    torch.testing.assert_close(slopes[0], slopes[1])
    merged = merged_metrics(parts)
    assert set(merged) == set(whole.metrics)
    for name, value in whole.metrics.items():
        torch.testing.assert_close(merged[name], value, msg=lambda text, name=name: f"{name}: {text}")


@settings(max_examples=30, deadline=None)
@given(seeds, shapes)
def test_completions_that_are_filtered_leave_no_trace(seed, shape):
    made = objective(**shape, overlong="filter")
    new, old, reference, gains, mask = random_case(seed)
    completed = torch.tensor([True, False, True, True])
    counted = mask & made.kept(completed).unsqueeze(-1)
    without = [x[completed] for x in (new, old, reference, gains, mask)]
    torch.testing.assert_close(made.loss(new, old, reference, gains, counted).loss, made.loss(*without).loss)
    assert UpdateSize.of(counted) == UpdateSize.of(without[-1])
    slope = gradient(made, new, old, reference, gains, counted)
    assert slope[1].abs().sum() == 0.0
    nothing = made.loss(new, old, reference, gains, torch.zeros_like(mask))
    assert nothing.loss.item() == 0.0
    assert all(torch.isfinite(value) for value in nothing.metrics.values())


@settings(max_examples=40, deadline=None)
@given(seeds, st.sampled_from(SURROGATES), st.sampled_from(AGGREGATIONS))
def test_on_policy_the_levels_agree_and_nothing_is_clipped(seed, surrogate, aggregation):
    new, _, reference, gains, mask = random_case(seed)
    slopes = []
    for level in LEVELS.values():
        made = objective(ratio_level=level, surrogate=surrogate, aggregation=aggregation)
        slopes.append(gradient(made, new, new, reference, gains, mask))
        metrics = made.loss(new, new, reference, gains, mask).metrics
        shown = {name: float(metrics[name]) for name in ("clip_frac", "ratio_mean", "ratio_std", "ratio_max")}
        assert shown == pytest.approx({"clip_frac": 0.0, "ratio_mean": 1.0, "ratio_std": 0.0, "ratio_max": 1.0})
    torch.testing.assert_close(slopes[0], slopes[1])
    torch.testing.assert_close(slopes[0], slopes[2])


@settings(max_examples=40, deadline=None)
@given(seeds, st.sampled_from(AGGREGATIONS))
def test_gspo_token_has_the_gradient_of_gspo(seed, aggregation):
    """With one advantage a completion: arXiv:2507.18071, sec. 4.3."""
    case = random_case(seed)
    made = objective(aggregation=aggregation)
    token = objective(aggregation=aggregation, ratio_level="sequence_token")
    torch.testing.assert_close(token.loss(*case).loss, made.loss(*case).loss)
    torch.testing.assert_close(gradient(token, *case), gradient(made, *case))


def test_the_parts_of_the_loss_add_up():
    case = random_case(3)
    output = objective(kl_coef=0.3).loss(*case)
    torch.testing.assert_close(output.loss, output.metrics["policy_loss"] + 0.3 * output.metrics["kl"])


def test_clip_metrics_count_what_loses_its_gradient():
    ratios = torch.tensor([0.5, 0.5, 2.0, 2.0, 1.1])
    gains = torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0])
    new = ratios.log().unsqueeze(-1)
    zeros, mask = torch.zeros(5, 1), torch.ones(5, 1, dtype=torch.bool)
    free = objective(kl_coef=0.0)
    shown = {
        name: pytest.approx(float(value)) for name, value in free.loss(new, zeros, None, gains, mask).metrics.items()
    }
    assert {name: value for name, value in shown.items() if "clip" in name} == {
        "clip_frac": 0.4, "clip_frac_low": 0.2, "clip_frac_high": 0.2
    }  # fmt: skip
    assert (shown["ratio_mean"], shown["ratio_min"], shown["ratio_max"]) == (6.1 / 5, 0.5, 2.0)
    slope = gradient(free, new, zeros, None, gains, mask)
    assert (slope.flatten() == 0).tolist() == [False, True, True, False, False]
    bounded = objective(kl_coef=0.0, surrogate="cispo")
    assert float(bounded.loss(new, zeros, None, gains, mask).metrics["clip_frac"]) == pytest.approx(0.8)
    expected = -ratios.clamp(0.8, 1.2) * gains / 5
    torch.testing.assert_close(gradient(bounded, new, zeros, None, gains, mask).flatten(), expected)


def test_the_clip_range_of_gspo_is_narrow_enough_to_act():
    narrow = objective(clip_low=3e-4, clip_high=4e-4)
    new, old = torch.full((2, 3), -1.0), torch.full((2, 3), -1.0005)
    output = narrow.loss(new, old, new, torch.tensor([1.0, -1.0]), torch.ones(2, 3, dtype=torch.bool))
    assert float(output.metrics["clip_frac_high"]) == 0.5


def test_a_missing_reference_is_an_error_only_with_a_kl_term():
    new, _, _, gains, mask = random_case(0)
    with pytest.raises(ValueError, match="ref_logprobs"):
        GSPO.loss(new, new, None, gains, mask)
    free = objective(kl_coef=0.0)
    assert not free.needs_reference
    assert float(free.loss(new, new, None, gains, mask).metrics["kl"]) == 0.0


@pytest.mark.parametrize(
    ("field", "value"),
    [("ratio_level", "word"), ("surrogate", "sapo"), ("advantage", "rank"), ("aggregation", "mean"),
     ("overlong", "cut"), ("kl_estimator", "k4"), ("kl_bias_correction", None), ("clip_low", 1.1),
     ("clip_high", -0.1), ("clip_high", math.nan), ("kl_coef", -1.0), ("max_length", 0), ("overlong_cache", 1.5),
     ("resample_flat", -1), ("updates_per_rollout", 0), ("minibatches", 0)],
)  # fmt: skip
def test_wrong_values_are_named(field, value):
    with pytest.raises(ConfigError, match=rf"objective\.{field}={value!r}.* must be"):
        objective(**{field: value})
