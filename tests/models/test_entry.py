"""The door to the model: the same numbers, hooks around them, blank passes where true ones would be."""

from dataclasses import replace

import pytest
import torch

from o3v.models import entry
from o3v.models.entry import blank_prompt, blank_vision, exchanged, through
from o3v.models.logprobs import dense_scores, packed_scores
from tests import tiny
from tests.training.layout_run import prompt_of

WAYS = {"dense": dense_scores, "packed": packed_scores}


@pytest.fixture(scope="module", params=tiny.FAMILIES)
def policy(request):
    return tiny.random_policy(request.param, 1.5)


def asked(policy, kinds, passes=0):
    prompts = [prompt_of(policy, kind, number + 1) for number, kind in enumerate(kinds)]
    encoded = replace(policy.encode(prompts), agreed_passes=passes)
    return encoded, *policy.encode_targets([prompt.target for prompt in prompts])


def modules_run(policy, kinds, passes, way) -> list[str]:
    """Names of the modules that a pass runs, in order: ZeRO-3 compares it between processes."""
    seen = []
    handles = [
        module.register_forward_pre_hook(lambda module, _, name=name: seen.append(name))
        for name, module in policy.model.named_modules()
    ]
    encoded, ids, mask = asked(policy, kinds, passes)
    through(policy, encoded, lambda: way(policy, encoded, ids, mask))
    for handle in handles:
        handle.remove()
    return seen


@pytest.mark.parametrize("way", WAYS)
def test_processes_with_other_media_run_the_same_modules(policy, way):
    one = modules_run(policy, ["image", "clip"], 1, WAYS[way])
    assert modules_run(policy, ["text"], 1, WAYS[way]) == one == modules_run(policy, ["video"], 1, WAYS[way])
    two = modules_run(policy, ["image", "video"], 2, WAYS[way])
    assert modules_run(policy, ["text"], 2, WAYS[way]) == two != one


def test_a_blank_pass_at_another_place_is_caught(policy, monkeypatch):
    """Before the embedding: the same modules in another order."""
    from contextlib import contextmanager

    @contextmanager
    def early(policy, count):
        for _ in range(count):
            blank_vision(policy)
        yield

    right = modules_run(policy, ["image"], 1, dense_scores)
    monkeypatch.setattr(entry, "_blank_passes", early)
    found = modules_run(policy, ["text"], 1, dense_scores)
    assert found != right and sorted(found) == sorted(right)


@pytest.mark.parametrize("passes", [0, 1, 2])
def test_blank_passes_change_no_number_and_no_gradient(policy, passes):
    encoded, ids, mask = asked(policy, ["text", "text"], passes)
    found = {}
    for name, run in (("plain", lambda f: f()), ("through", lambda f: through(policy, encoded, f))):
        policy.model.zero_grad()
        scores = run(lambda: packed_scores(policy, encoded, ids, mask))
        scores.logprobs.sum().backward()
        grads = {n: p.grad for n, p in policy.model.named_parameters()}
        found[name] = scores.logprobs.detach(), grads
    assert torch.equal(found["plain"][0], found["through"][0])
    for name, grad in found["through"][1].items():
        before = found["plain"][1][name]
        if before is None:
            assert (grad is not None) == bool(passes), name  # the vision tower takes part, and learns nothing
            assert grad is None or not grad.any(), name
        else:
            assert torch.equal(grad, before), name
    policy.model.zero_grad()


def test_hooks_of_the_model_act_around_what_runs_inside(policy):
    order, (encoded, ids, mask) = [], asked(policy, ["image"])
    handles = [
        policy.model.register_forward_pre_hook(lambda *_: order.append("before")),
        policy.model.register_forward_hook(lambda module, _, output: order.append(sorted(output))),
    ]
    through(policy, encoded, lambda: order.append("inside") or packed_scores(policy, encoded, ids, mask))
    for handle in handles:
        handle.remove()
    assert order == ["before", "inside", ["entropy", "logprobs"]]


def test_the_models_own_forward_is_back_also_after_an_error(policy):
    with pytest.raises(ZeroDivisionError), exchanged(policy.model, lambda: 1 // 0):
        policy.model()
    assert "forward" not in vars(policy.model)
    assert not policy.model.get_input_embeddings()._forward_hooks


def test_a_blank_prompt_goes_through_both_ways(policy):
    prompts = replace(blank_prompt(policy), agreed_passes=1)
    mask = torch.ones_like(prompts.input_ids, dtype=torch.bool)
    for way in WAYS.values():
        scores = through(policy, prompts, lambda way=way: way(policy, prompts, prompts.input_ids, mask))
        assert scores.logprobs.shape == (1, 2) and bool(scores.logprobs.isfinite().all())
