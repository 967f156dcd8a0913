"""Policy loss: golden values of both modes, wrong versions caught, properties."""

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from o3v.errors import ConfigError
from o3v.objectives import advantages, kl, masked, policy
from o3v.objectives.policy import PolicyObjective
from tests.objectives.golden_lines import SMALL, both, read_lines

GSPO = PolicyObjective("sequence", 0.2, 0.2, 0.04, "std", 1, 4)
LEVELS = {"gspo": "sequence", "grpo": "token"}


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
        "kl metric": near(masked.row_mean(kl.k3(logprobs, reference), mask).detach(), expected["metrics"]["kl"]),
    }
    gains = advantages.group_advantages(rewards, "reference").flatten()
    for name, level in LEVELS.items():
        objective = PolicyObjective(level, line["epsilon_low"], line["epsilon_high"], line["beta"], "reference", 1, 4)
        ratio = objective.ratio(logprobs, old, mask)
        output = objective.loss(logprobs, old, reference, gains, mask)
        (gradient,) = torch.autograd.grad(output.loss, logprobs)
        shown = mask if name == "grpo" else slice(None)
        found[f"{name} ratio"] = near(ratio[shown], torch.tensor(expected[name]["importance_ratio"])[shown])
        found[f"{name} clipped"] = near(
            objective.clipped(ratio)[shown], torch.tensor(expected[name]["clipped_ratio"])[shown]
        )
        if corrected is None:
            found[f"{name} loss"] = near(output.loss.detach(), expected[name]["loss"])
            found[f"{name} gradient"] = near(gradient, expected[name]["grad_wrt_per_token_logps"])
        else:
            found[f"{name} finite"] = bool(torch.isfinite(output.loss) and torch.isfinite(gradient).all())
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


def token_mean(values, mask):
    return masked.masked_sum(values, mask).sum() / mask.sum()


def unclamped(logprobs, ref_logprobs):
    return torch.exp(ref_logprobs - logprobs) - (ref_logprobs - logprobs) - 1.0


MUTANTS = {
    "old log-probabilities are the current ones": (
        policy, "token_log_ratio", lambda new, old, mask: torch.where(mask, new - new.detach(), 0.0 * new)
    ),
    "sum instead of mean of the log ratio": (policy, "masked_mean", masked.masked_sum),
    "mean over padding too": (masked, "masked_mean", unmasked_mean),
    "mean over all tokens, not over rows": (policy, "row_mean", token_mean),
    "no lower clip": (PolicyObjective, "clipped", one_sided_clip),
    "no clip": (PolicyObjective, "clipped", lambda self, ratio: ratio),
    "std with G in the denominator": (advantages, "group_advantages", biased_std),
    "advantages not scaled": (advantages, "group_advantages", lambda r, mode: r - r.mean(-1, keepdim=True)),
    "KL not clamped": (kl, "k3", unclamped),
    "KL turned round": (policy, "k3", lambda a, b: torch.exp(a - b.detach()) - (a - b.detach()) - 1.0),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTANTS)
def test_wrong_versions_are_caught(name, monkeypatch):
    owner, attribute, wrong = MUTANTS[name]
    monkeypatch.setattr(owner, attribute, wrong)
    assert misses(SMALL)


def test_the_ratio_of_grpo_in_gspo_is_caught(monkeypatch):
    monkeypatch.setitem(LEVELS, "gspo", "token")
    wrong = misses(SMALL)
    modes = {line["id"]: line["mode"] for line in read_lines(SMALL, "policy_loss")}
    assert wrong
    assert {modes[name] for name in wrong} == {"off_policy"}  # on the policy the two cannot be told apart


def random_case(seed, rows=4, length=5):
    generator = torch.Generator().manual_seed(seed)
    draw = [-torch.rand(rows, length, generator=generator) for _ in range(3)]
    ends = torch.randint(1, length + 1, (rows, 1), generator=generator)
    gains = advantages.group_advantages(torch.rand(1, rows, generator=generator), "std").flatten()
    return *draw, gains, torch.arange(length) < ends


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["sequence", "token"]), st.integers(1, 4))
def test_padding_changes_nothing(seed, level, extra):
    objective = dataclasses.replace(GSPO, ratio_level=level)
    new, old, reference, gains, mask = random_case(seed)
    junk = torch.full((4, extra), math.nan)
    widened = [torch.cat([x, junk], dim=1).requires_grad_() for x in (new, old, reference)]
    plain = objective.loss(new.requires_grad_(), old, reference, gains, mask)
    padded = objective.loss(*widened, gains, torch.cat([mask, torch.zeros_like(junk, dtype=torch.bool)], dim=1))
    torch.testing.assert_close(padded.loss, plain.loss)
    for name, value in plain.metrics.items():
        torch.testing.assert_close(padded.metrics[name], value)
    padded.loss.backward()
    assert torch.isfinite(widened[0].grad).all()
    assert widened[1].grad is None
    assert widened[2].grad is None


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_on_policy_the_levels_agree_and_nothing_is_clipped(seed):
    new, _, reference, gains, mask = random_case(seed)
    gradients = []
    for level in LEVELS.values():
        leaf = new.clone().requires_grad_()
        output = dataclasses.replace(GSPO, ratio_level=level).loss(leaf, leaf.detach(), reference, gains, mask)
        gradients.append(torch.autograd.grad(output.loss, leaf)[0])
        shown = {name: float(output.metrics[name]) for name in ("clip_frac", "ratio_mean", "ratio_std")}
        assert shown == pytest.approx({"clip_frac": 0.0, "ratio_mean": 1.0, "ratio_std": 0.0})
    torch.testing.assert_close(gradients[0], gradients[1])


def test_clip_metrics_count_what_loses_its_gradient():
    ratios = torch.tensor([0.5, 0.5, 2.0, 2.0, 1.1])
    gains = torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0])
    new = ratios.log().unsqueeze(-1).requires_grad_()
    zeros, mask = torch.zeros(5, 1), torch.ones(5, 1, dtype=torch.bool)
    output = GSPO.loss(new, zeros, zeros, gains, mask)
    shown = {name: pytest.approx(float(value)) for name, value in output.metrics.items() if "clip" in name}
    assert shown == {"clip_frac": 0.4, "clip_frac_low": 0.2, "clip_frac_high": 0.2}
    assert float(output.metrics["ratio_mean"]) == pytest.approx(6.1 / 5)
    free = dataclasses.replace(GSPO, kl_coef=0.0).loss(
        new, torch.zeros(5, 1), None, gains, torch.ones(5, 1, dtype=torch.bool)
    )
    (gradient,) = torch.autograd.grad(free.loss, new)
    assert (gradient.flatten() == 0).tolist() == [False, True, True, False, False]


def test_the_clip_range_of_gspo_is_narrow_enough_to_act():
    narrow = dataclasses.replace(GSPO, clip_low=3e-4, clip_high=4e-4)
    new, old = torch.full((2, 3), -1.0), torch.full((2, 3), -1.0005)
    output = narrow.loss(new, old, new, torch.tensor([1.0, -1.0]), torch.ones(2, 3, dtype=torch.bool))
    assert float(output.metrics["clip_frac_high"]) == 0.5


def test_a_row_without_tokens_adds_nothing():
    new = torch.tensor([[-1.0], [-2.0]], requires_grad=True)
    mask = torch.tensor([[True], [False]])
    output = GSPO.loss(new, torch.zeros(2, 1), torch.zeros(2, 1), torch.tensor([1.0, 1.0]), mask)
    (gradient,) = torch.autograd.grad(output.loss, new)
    assert gradient[1].item() == 0.0
    assert all(torch.isfinite(value) for value in output.metrics.values())


def test_a_missing_reference_is_an_error_only_with_a_kl_term():
    new, _, _, gains, mask = random_case(0)
    with pytest.raises(ValueError, match="ref_logprobs"):
        GSPO.loss(new, new, None, gains, mask)
    free = dataclasses.replace(GSPO, kl_coef=0.0)
    assert not free.needs_reference
    assert float(free.loss(new, new, None, gains, mask).metrics["kl"]) == 0.0


@pytest.mark.parametrize(
    ("field", "value"),
    [("ratio_level", "word"), ("advantage", "rank"), ("clip_low", 1.0), ("clip_high", -0.1), ("kl_coef", -1.0),
     ("updates_per_rollout", 0), ("minibatches", 0)],
)  # fmt: skip
def test_wrong_values_are_named(field, value):
    with pytest.raises(ConfigError, match=field):
        dataclasses.replace(GSPO, **{field: value})


def test_a_configuration_that_cannot_clip_says_so():
    assert GSPO.warnings() == ()
    assert "clipping never acts" in dataclasses.replace(GSPO, minibatches=1).warnings()[0]
    assert "1 prompts" in GSPO.warnings(prompts=1)[0]
    assert dataclasses.replace(GSPO, updates_per_rollout=2).warnings(prompts=1) == ()
