"""TRL's own losses and advantages on shared tensors, and wrong versions that they catch."""

import importlib.metadata
import json
from pathlib import Path

import pytest
import torch

from o3v.objectives import advantages, aggregation, policy, ratio
from o3v.objectives.advantages import group_advantages
from o3v.objectives.aggregation import UpdateSize
from o3v.objectives.masked import masked_sum
from o3v.objectives.policy import PolicyObjective
from tests.objectives import make_trl_vectors
from tests.objectives.made import objective

VECTORS = json.loads((Path(__file__).parent / "golden" / "trl.json").read_text())
AGGREGATION = {"grpo": "sequence", "bnpo": "token", "dapo": "token", "dr_grpo": "constant", "cispo": "token"}
SCALE = {"group": "std", "batch": "batch_std", "none": "mean_only"}


def near(found, wanted):
    return torch.allclose(torch.as_tensor(found).float(), torch.as_tensor(wanted).float(), rtol=1e-5, atol=1e-6)


def objective_of(case):
    """TRL's options in the words of this project; its CISPO bounds the weight above only, by its absolute value."""
    low, high = VECTORS["clip"]
    is_cispo = case["loss_type"] == "cispo"
    return objective(
        ratio_level=case["level"], surrogate="cispo" if is_cispo else "clip", clip_low=1.0 if is_cispo else low,
        clip_high=VECTORS["cispo_max"] - 1.0 if is_cispo else high, kl_coef=case["beta"],
        kl_bias_correction=case["bias_correction"], aggregation=AGGREGATION[case["loss_type"]],
        max_length=VECTORS["max_length"],
    )  # fmt: skip


def missed_losses():
    """Cases in which loss, gradient or clip fractions differ from TRL's."""
    given = {name: torch.tensor(value) for name, value in VECTORS["tensors"].items()}
    mask, missed = given["mask"].bool(), []
    for case in VECTORS["losses"]:
        logprobs = given["logprobs"].clone().requires_grad_()
        total = UpdateSize(len(mask), case["items"])
        reference = given["ref_logprobs"] if case["beta"] else None
        out = objective_of(case).loss(logprobs, given["old_logprobs"], reference, given["advantages"], mask, total)
        (slope,) = torch.autograd.grad(out.loss, logprobs)
        shares = {f"clip_ratio/{side}_mean": out.metrics[f"clip_frac_{side}"] for side in ("low", "high")}
        same_clip = all(near(shares[name], value) for name, value in case["metrics"].items() if name in shares)
        if not (near(out.loss.detach(), case["loss"]) and near(slope, case["gradient"]) and same_clip):
            missed.append((case["loss_type"], case["level"], case["beta"], case["bias_correction"]))
    return missed


def missed_advantages():
    """Names of the advantage modes that differ from TRL's."""
    columns = torch.tensor(VECTORS["rewards_per_func"]).view(-1, VECTORS["group_size"], len(VECTORS["weights"]))
    weights = torch.tensor(VECTORS["weights"])
    missed = []
    for case in VECTORS["advantages"]:
        mode = SCALE[case["scale"]] if case["aggregation"] == "sum_then_normalize" else "per_reward"
        found = policy.group_advantages((columns * weights).sum(-1), mode, columns, weights)
        if not near(found.flatten(), case["advantages"]):
            missed.append(mode)
    return missed


def test_losses_gradients_and_clip_fractions_are_those_of_trl():
    assert len(VECTORS["losses"]) == 31
    assert missed_losses() == []


def test_advantages_are_those_of_trl():
    assert len(VECTORS["advantages"]) == 4
    assert missed_advantages() == []


def installed_trl():
    try:
        return importlib.metadata.version("trl")
    except importlib.metadata.PackageNotFoundError:
        return "none"


@pytest.mark.skipif(installed_trl() != VECTORS["trl"], reason=f"TRL {VECTORS['trl']} is not installed")
def test_the_vectors_are_what_the_installed_trl_returns():
    for case in VECTORS["losses"][::4]:
        names = ("loss_type", "level", "beta", "bias_correction", "items")
        again = make_trl_vectors.loss_case(*(case[name] for name in names))
        assert near(again["loss"], case["loss"])
        assert near(again["gradient"], case["gradient"])


def attached_weight(clipped, gain, logprobs, mask):
    return clipped * gain * torch.where(mask, logprobs, 0.0)


def corrected_by(change):
    """A loss whose KL is multiplied by a changed ratio."""
    plain = PolicyObjective._kl
    return lambda self, new, ref, ratio, mask, total: plain(self, new, ref, change(self, ratio), mask, total)


def weights_before_normalising(columns, weights):
    return group_advantages((columns * weights).sum(-1), "std")


def unweighted(columns, weights):
    sums = group_advantages(columns.transpose(1, 2).flatten(0, 1), "std").view(len(columns), -1, 4).sum(1)
    return sums / (sums.std() + 1e-4)


def group_normalised_twice(columns, weights):
    terms = group_advantages(columns.transpose(1, 2).flatten(0, 1), "std").view(len(columns), -1, 4)
    return group_advantages((terms * weights.unsqueeze(-1)).sum(1), "std")


def parts_forget_the_whole(values, mask, how, max_length, total=None):
    return aggregation.aggregate(values, mask, how, max_length)


def longest_row(values, mask, how, max_length, total=None):
    return aggregation.aggregate(values, mask, how, int(mask.sum(-1).max()), total)


LOSS_MUTANTS = {
    "clip sides swapped": (PolicyObjective, "clipped", lambda s, w: w.clamp(1 - s.clip_high, 1 + s.clip_low)),
    "no clip": (PolicyObjective, "clipped", lambda s, w: w),
    "clip of the log ratio": (PolicyObjective, "clipped", lambda s, w: w.log().clamp(-s.clip_low, s.clip_high).exp()),
    "largest instead of smallest": (policy, "clip_surrogate", lambda w, c, gain: torch.maximum(w * gain, c * gain)),
    "clipped side chosen by the ratio alone": (policy, "clip_surrogate", lambda w, c, gain: c * gain),
    "gradient through the weight of CISPO": (policy, "cispo_surrogate", attached_weight),
    "sum instead of mean of the log ratio": (ratio, "masked_mean", masked_sum),
    "mean over padding too": (aggregation, "masked_mean", lambda values, mask: values.mean(-1)),
    "no gradient through the correction of the KL": (PolicyObjective, "_kl", corrected_by(lambda s, w: w.detach())),
    "KL corrected by the clipped ratio": (PolicyObjective, "_kl", corrected_by(lambda s, w: s.clipped(w))),
    "k2 for k3": (policy, "kl_estimate", lambda new, ref, _: 0.5 * (new - ref) ** 2),
    "a part divided by its own size": (policy, "aggregate", parts_forget_the_whole),
    "constant is the longest completion": (policy, "aggregate", longest_row),
    "clip counted on the wrong sign": (
        policy, "clip_acts", lambda w, c, gain, _: ((w < c) & (gain > 0), (w > c) & (gain < 0))
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LOSS_MUTANTS)
def test_wrong_losses_are_caught(name, monkeypatch):
    monkeypatch.setattr(*LOSS_MUTANTS[name])
    assert missed_losses()


ADVANTAGE_MUTANTS = {
    "the sum normalised": weights_before_normalising,
    "weights lost": unweighted,
    "normalised by the group at the end": group_normalised_twice,
}


@pytest.mark.parametrize("name", ADVANTAGE_MUTANTS)
def test_wrong_gdpo_is_caught(name, monkeypatch):
    monkeypatch.setattr(advantages, "_per_reward", ADVANTAGE_MUTANTS[name])
    assert missed_advantages() == ["per_reward"]


@pytest.mark.parametrize("mode", sorted(SCALE.values()))
def test_wrong_divisors_are_caught(mode, monkeypatch):
    monkeypatch.setattr(advantages, "_divisor", lambda totals, _: totals.std(-1, keepdim=True, unbiased=False))
    assert mode in missed_advantages()
