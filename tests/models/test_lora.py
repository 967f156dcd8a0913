"""Adapters: only they learn, switched off the model is what it was, and what is written is plain."""

import copy
import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from o3v.errors import ConfigError
from o3v.models.load import load_policy, make_policy, save_policy
from o3v.models.lora import LoraSettings, adaptable, adapter_off, add_adapter, has_adapter, merged_weights
from tests import tiny

LANGUAGE = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
SETTINGS = LoraSettings(rank=4, alpha=8, target_modules=LANGUAGE)


def moved(policy, scale=0.3):
    """An adapter as after training: B is no longer zero."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, weight in policy.model.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, scale, generator=generator)
    return policy


@pytest.fixture
def adapted(fresh_policy):
    add_adapter(fresh_policy, SETTINGS)
    return moved(fresh_policy)


@pytest.fixture
def calm(policy):
    """Weights as they are drawn: the enlarged ones of `policy` turn rounding into differences near 1e-5."""
    calm = tiny.random_policy(policy.family.name, 1.0)
    add_adapter(calm, SETTINGS)
    return moved(calm)


@pytest.fixture(scope="module")
def inputs(policy):
    return policy.encode(tiny.mixed_prompts(policy)).inputs()


def logits(policy, inputs):
    with torch.no_grad():
        return policy.model(**inputs).logits


def gradients(policy, inputs):
    policy.model.zero_grad()
    policy.model(**inputs).logits.float().log_softmax(-1)[..., 7].mean().backward()
    return {name: p.grad.clone() for name, p in policy.model.named_parameters() if p.grad is not None}


# ---- where adapters are, and what learns


def test_paths_inside_the_model_stay(policy, adapted):
    model = adapted.model
    assert type(model) is type(policy.model) and model.lm_head.weight.shape == policy.model.lm_head.weight.shape
    assert type(model.model.visual) is type(policy.model.model.visual)
    for layer in model.model.language_model.layers:
        assert layer.self_attn.q_proj.weight.shape == layer.self_attn.q_proj.base_layer.weight.shape
    assert has_adapter(adapted) and not has_adapter(policy)


def test_only_adapters_of_the_language_model_learn(adapted, inputs):
    learning = [name for name, weight in adapted.model.named_parameters() if weight.requires_grad]
    layers = len(adapted.model.model.language_model.layers)
    assert len(learning) == 2 * len(LANGUAGE) * layers
    assert all(name.startswith("model.language_model.layers.") and ".lora_" in name for name in learning)
    assert set(gradients(adapted, inputs)) == set(learning)


def test_vision_layers_where_the_names_say_so(fresh_policy, inputs):
    names = [name for name in adaptable(fresh_policy.family.name) if name.startswith("visual.")]
    add_adapter(fresh_policy, replace(SETTINGS, target_modules=names))
    learning = [name for name, weight in fresh_policy.model.named_parameters() if weight.requires_grad]
    assert len(learning) == 2 * len(names) * len(fresh_policy.model.model.visual.blocks)
    assert all(name.startswith("model.visual.blocks.") for name in learning)
    assert set(gradients(moved(fresh_policy), inputs)) == set(learning)


def test_names_that_may_be_given_are_those_of_the_models(policy):
    found = {
        start + name.rpartition(".")[2]
        for place, start in (("language_model.layers", ""), ("visual.blocks", "visual."))
        for name, module in policy.model.model.named_modules()
        if name.startswith(place) and isinstance(module, torch.nn.Linear)
    }
    assert found == set(adaptable(policy.family.name))


def test_a_new_adapter_changes_nothing_and_is_always_the_same(policy, fresh_policy, inputs):
    twin = replace(policy, model=copy.deepcopy(policy.model))
    state = torch.random.get_rng_state()
    add_adapter(fresh_policy, SETTINGS)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.rand(3)
    add_adapter(twin, SETTINGS)
    assert torch.equal(logits(fresh_policy, inputs), logits(policy, inputs))
    one, two = fresh_policy.model.state_dict(), twin.model.state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one) and len(one) == len(two)
    assert any(bool(value.any()) for name, value in one.items() if "lora_A" in name)


# ---- switched off


def test_off_is_the_base_to_the_last_bit_and_on_again_afterwards(policy, adapted, inputs):
    changed = logits(adapted, inputs)
    with adapter_off(adapted):
        assert torch.equal(logits(adapted, inputs), logits(policy, inputs))
    assert torch.equal(logits(adapted, inputs), changed)
    assert float((changed - logits(policy, inputs)).abs().max()) > 0.1


def test_off_under_gradient_checkpointing(policy, adapted, inputs):
    adapted.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    adapted.model.train()
    with adapter_off(adapted), torch.no_grad():
        found = adapted.model(**inputs, use_cache=False).logits
    assert torch.equal(found, logits(policy, inputs))


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_graph_survives_a_reference_scored_in_between(adapted, inputs, checkpointing):
    """The reference is scored after the policy's forward and before its backward."""
    wanted = gradients(adapted, inputs)
    if checkpointing:
        adapted.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        adapted.model.train()
    adapted.model.zero_grad()
    loss = adapted.model(**inputs, use_cache=False).logits.float().log_softmax(-1)[..., 7].mean()
    with adapter_off(adapted):
        logits(adapted, inputs)
    loss.backward()
    found = {name: p.grad for name, p in adapted.model.named_parameters() if p.grad is not None}
    assert found.keys() == wanted.keys()
    assert all(torch.allclose(found[name], wanted[name], atol=1e-7) for name in wanted)


def test_off_in_off_and_after_an_error(policy, adapted, inputs):
    trained = [name for name, weight in adapted.model.named_parameters() if weight.requires_grad]
    with pytest.raises(ZeroDivisionError), adapter_off(adapted):
        with adapter_off(adapted):
            pass
        assert torch.equal(logits(adapted, inputs), logits(policy, inputs))
        raise ZeroDivisionError
    assert not torch.equal(logits(adapted, inputs), logits(policy, inputs))
    assert [name for name, weight in adapted.model.named_parameters() if weight.requires_grad] == trained


def test_weights_frozen_by_hand_stay_frozen(adapted):
    adapted.model.requires_grad_(False)
    with adapter_off(adapted):
        pass
    assert not any(weight.requires_grad for weight in adapted.model.parameters())


def test_off_without_an_adapter_does_nothing(policy, inputs):
    with adapter_off(policy):
        assert torch.equal(logits(policy, inputs), logits(policy, inputs))


# ---- written


def test_the_written_model_is_plain_and_equal(policy, calm, inputs, tmp_path):
    from transformers import AutoModelForImageTextToText

    before = {name: value.clone() for name, value in calm.model.state_dict().items()}
    save_policy(calm, tmp_path / "model")
    save_policy(policy, tmp_path / "base")
    plain = AutoModelForImageTextToText.from_pretrained(tmp_path / "model", dtype=torch.float32)
    assert float((logits(replace(policy, model=plain), inputs) - logits(calm, inputs)).abs().max()) < 1e-5
    after = calm.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    names = [load_file(tmp_path / folder / "model.safetensors").keys() for folder in ("model", "base")]
    assert names[0] == names[1]
    configs = [json.loads((tmp_path / folder / "config.json").read_text()) for folder in ("model", "base")]
    assert configs[0] == configs[1] and not list((tmp_path / "model").glob("adapter*"))


def test_the_live_model_goes_on_learning_after_it_was_written(adapted, inputs, tmp_path):
    before = gradients(adapted, inputs)
    save_policy(adapted, tmp_path / "model")
    after = gradients(adapted, inputs)
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


def test_a_forgotten_scale_in_the_merged_weights_is_caught(calm, inputs):
    """The scale alpha / rank is 2 here: weights merged without it are another model."""
    weights = merged_weights(calm)
    with adapter_off(calm):
        base = {name.replace(".base_layer.", "."): value for name, value in calm.model.state_dict().items()}
    wrong = {name: base[name] + (value - base[name]) / 2 for name, value in weights.items()}
    plain = tiny.random_policy(calm.family.name, 1.0, seed=1)
    errors = []
    for given in (weights, wrong):
        plain.model.load_state_dict(given)
        errors.append(float((logits(plain, inputs) - logits(calm, inputs)).abs().max()))
    assert errors[0] < 1e-5 and errors[1] > 0.1


def test_half_precision_is_merged_in_float32(fresh_policy):
    half = replace(fresh_policy, model=fresh_policy.model.bfloat16())
    add_adapter(half, SETTINGS)
    moved(half)
    state = half.model.state_dict()
    name = next(name for name in state if name.endswith("base_layer.weight"))
    merged = merged_weights(half)[name.replace(".base_layer.", ".")]
    a, b = (state[name.replace("base_layer", f"lora_{side}.default")] for side in "AB")
    assert merged.dtype == torch.bfloat16
    assert torch.equal(merged, (state[name].float() + b @ a * 2).bfloat16())


# ---- configured


def test_a_spec_with_a_rank_loads_an_adapter(policy, tmp_path):
    save_policy(policy, tmp_path / "model")
    spec = replace(tiny.spec(policy.family.name), dtype="bfloat16", lora=SETTINGS)
    loaded = load_policy(spec, tmp_path / "model")
    kinds = {("lora" in name, weight.dtype) for name, weight in loaded.model.named_parameters()}
    assert kinds == {(True, torch.float32), (False, torch.bfloat16)}
    assert not loaded.model.training
    assert not has_adapter(load_policy(replace(spec, lora=replace(SETTINGS, rank=0)), tmp_path / "model"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rank": -1}, r"model\.lora\.rank=-1"),
        ({"alpha": 0}, r"model\.lora\.alpha=0"),
        ({"target_modules": []}, r"model\.lora\.target_modules is empty"),
        ({"target_modules": ["q_proj", "lm_head"]}, r"\['lm_head'\].*allowed are \['q_proj'.*'visual\.qkv'"),
        ({"target_modules": ["visual.linear_fc1"]}, r"\['visual\.linear_fc1'\] not in a qwen2_5_vl"),
    ],
)
def test_settings_that_are_not_allowed(changes, said):
    with pytest.raises(ConfigError, match=said):
        replace(tiny.spec("qwen2_5_vl"), lora=replace(SETTINGS, **changes))


def test_a_model_made_from_nothing_has_no_adapter():
    with pytest.raises(ConfigError, match=r"model\.lora\.rank=4"):
        make_policy(replace(tiny.spec("qwen2_5_vl"), lora=SETTINGS), tiny.tokenizer(), 0)
