"""Loss and gradients of every supported combination against the dense computation: the engine's promise.

family x {mask, split, kept} x {plain, checkpointing, adapter, frozen vision tower, stale log-probabilities, one prompt,
native videos}; completions are ragged everywhere.
"""

from dataclasses import replace

import pytest
import torch

from o3v.models.logprobs import dense_scores, kept_scores, mask_scores, packed_scores
from o3v.models.lora import LoraSettings, add_adapter
from o3v.models.prefix import read_prompts
from tests import tiny
from tests.training.steps import GSPO

LENGTHS = [5, 9, 1, 4, 7, 2]
WAYS = {
    "mask": mask_scores,
    "split": packed_scores,
    "kept": lambda policy, prompts, *rest: kept_scores(policy, read_prompts(policy, prompts), *rest),
}
VARIANTS = ("plain", "checkpointing", "adapter", "adapter and checkpointing", "frozen vision", "one prompt", "video")


def prepared(policy, variant):
    """Policy, prompts and completions of a variant."""
    prompts = tiny.mixed_prompts(policy)
    if "adapter" in variant:
        add_adapter(policy, LoraSettings(rank=4, alpha=8, target_modules=["q_proj", "v_proj", "down_proj"]))
        generator = torch.Generator().manual_seed(5)
        for name, weight in policy.model.named_parameters():
            if "lora_B" in name:  # zero at the start: the adapter would do nothing
                weight.data = torch.randn(weight.shape, generator=generator) * 0.2
    if "checkpointing" in variant:
        policy.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    if variant == "frozen vision":
        policy.model.model.visual.requires_grad_(False)
    if variant == "video":
        clip = prompts[1].clip
        prompts[1] = replace(prompts[1], parts=(tuple(range(len(clip.frames))), "When is it seen?"))
    if variant == "one prompt":
        prompts = prompts[1:2]
    policy.model.train()
    return policy.encode(prompts), *tiny.ragged(policy, LENGTHS)


def loss_and_gradients(policy, way, encoded, ids, mask, objective, old):
    """Of the objective with advantages of both signs; gradients by name."""
    policy.model.zero_grad()
    advantages = torch.linspace(-1.5, 1.0, len(ids))
    output = objective.loss(way(policy, encoded, ids, mask).logprobs, old, old, advantages, mask)
    output.loss.backward()
    found = {name: p.grad.clone() for name, p in policy.model.named_parameters() if p.grad is not None}
    return output, found


def assert_equal(found, expected):
    (output, gradients), (wanted_output, wanted) = found, expected
    assert float(output.loss.detach()) == pytest.approx(float(wanted_output.loss.detach()), abs=1e-5)
    assert gradients.keys() == wanted.keys() and wanted
    flat, wanted_flat = (torch.cat([one[name].flatten() for name in wanted]) for one in (gradients, wanted))
    assert float((flat - wanted_flat).norm() / wanted_flat.norm()) < 1e-5
    for name, value in wanted.items():
        assert float((gradients[name] - value).abs().max()) < 2e-5 * max(1.0, float(wanted_flat.abs().max())), name


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("way", WAYS)
def test_every_combination_equals_the_dense_computation(fresh_policy, way, variant):
    """Old log-probabilities are stale by up to 0.3 nats, so clipping acts on some completions."""
    encoded, ids, mask = prepared(fresh_policy, variant)
    with torch.no_grad():
        right = dense_scores(fresh_policy, encoded, ids, mask).logprobs
    noise = torch.rand(ids.shape, generator=torch.Generator().manual_seed(2)) * 0.6 - 0.3
    old = torch.where(mask, right + noise, 0.0)
    objective = replace(GSPO, kl_coef=0.04, clip_low=0.05, clip_high=0.05)
    expected = loss_and_gradients(fresh_policy, dense_scores, encoded, ids, mask, objective, old)
    found = loss_and_gradients(fresh_policy, WAYS[way], encoded, ids, mask, objective, old)
    assert 0.0 < float(expected[0].metrics["clip_frac"]) < 1.0
    assert any("visual" in name for name in expected[1]) == (variant != "frozen vision" and "adapter" not in variant)
    assert_equal(found, expected)


@pytest.mark.parametrize("way", WAYS)
def test_two_prompts_at_once_are_one_after_the_other(fresh_policy, way):
    encoded, ids, mask = prepared(fresh_policy, "plain")
    plain = plain_sum(fresh_policy, way, encoded, ids, mask)
    parts = [
        plain_sum(fresh_policy, way, encoded.select([b]), ids[2 * b : 2 * b + 2], mask[2 * b : 2 * b + 2])
        for b in range(3)
    ]
    assert plain[0] == pytest.approx(sum(part[0] for part in parts), rel=1e-5)
    summed = sum(part[1] for part in parts)
    assert float((plain[1] - summed).norm() / summed.norm()) < 1e-5


def plain_sum(policy, way, encoded, ids, mask):
    policy.model.zero_grad()
    total = WAYS[way](policy, encoded, ids, mask).logprobs.sum()
    total.backward()
    return float(total.detach()), torch.cat([p.grad.flatten() for p in policy.model.parameters()])


def test_in_double_precision_the_ways_agree_to_the_librarys_own_rounding(fresh_policy):
    """The library computes norms and rotary embeddings in float32 whatever the weights are."""
    double = replace(fresh_policy, model=fresh_policy.model.double())
    encoded, ids, mask = prepared(double, "plain")
    encoded = replace(encoded, pixel_values=encoded.pixel_values.double())
    expected = plain_gradient(double, dense_scores, encoded, ids, mask)
    for way in WAYS.values():
        found = plain_gradient(double, way, encoded, ids, mask)
        assert float((found - expected).norm() / expected.norm()) < 1e-6


def plain_gradient(policy, way, encoded, ids, mask):
    policy.model.zero_grad()
    (way(policy, encoded, ids, mask).logprobs * mask.cumsum(1)).sum().backward()
    return torch.cat([p.grad.flatten() for p in policy.model.parameters()])


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_kept_graph_is_exact_under_accumulated_gradients(fresh_policy, checkpointing):
    """Two passes of completions over one kept prompt: gradients add up to those of all at once."""
    encoded, ids, mask = prepared(fresh_policy, "checkpointing" if checkpointing else "plain")
    expected = plain_gradient(fresh_policy, dense_scores, encoded, ids, mask)
    fresh_policy.model.zero_grad()
    prefix, weights = read_prompts(fresh_policy, encoded), mask.cumsum(1)
    for first in (True, False):
        rows = slice(0, 6, 2) if first else slice(1, 6, 2)
        scores = kept_scores(fresh_policy, prefix, ids[rows], mask[rows])
        (scores.logprobs * weights[rows]).sum().backward(retain_graph=first)
    found = torch.cat([p.grad.flatten() for p in fresh_policy.model.parameters()])
    assert float((found - expected).norm() / expected.norm()) < 1e-5
