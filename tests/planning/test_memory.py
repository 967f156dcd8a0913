"""Planned memory: by hand, monotone, against what autograd truly keeps; and plans that are wrong are seen."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from o3v.measure.model import frames_prompt, random_tokenizer
from o3v.models.load import make_policy
from o3v.models.logprobs import dense_scores, packed_scores
from o3v.planning import memory as planning
from o3v.planning import state as planned_state
from o3v.planning.activations import text_layer
from o3v.planning.case import Lengths, PlanCase
from o3v.planning.engines import BUCKET_NUMBERS, ENGINES, PRESETS, engine_of, find_engine
from o3v.planning.memory import GIB, activation_parts, plan_memory
from o3v.planning.sizes import read_sizes
from o3v.training.layouts import LAYOUTS, SHARDED
from o3v.training.zero import zero_config
from tests import tiny
from tests.planning.cases import preset, rl, sft, sizes_of
from tests.tiny import CONF

TOTAL_7B = 8_292_166_656


def parts(case, moment, name="qwen2_5_vl_7b"):
    return plan_memory(case, sizes_of(name)).moments[moment]


def test_a_full_model_on_one_card_by_hand():
    found = parts(sft(), "optimizer")
    assert found["weights"] == 2 * TOTAL_7B and found["gradients"] == 2 * TOTAL_7B
    assert found["optimizer"] == 2 * 2 * TOTAL_7B  # two moments in bf16, as torch's AdamW keeps them


def test_zero_by_hand():
    """arXiv:1910.02054, section 5: 2 + 2 + 12 bytes a parameter; here gradients are float32, so 2 + 4 + 12.

    ZeRO-2 shards all but the weights, ZeRO-3 the weights too, but for the small ones.
    """
    small = sizes_of("qwen2_5_vl_7b").small(100_000)
    for name, whole, sharded in (("zero2", 2, 16), ("zero3", 0, 18)):
        found = parts(sft(engine=name, devices=8), "optimizer")
        held = found["weights"] + found["gradients"] + found["optimizer"]
        kept = 2 * small * 7 / 8 if name == "zero3" else 0
        assert held == pytest.approx((whole + sharded / 8) * TOTAL_7B + kept)


def test_fsdp2_by_hand():
    """Float32 weights, gradients and moments in parts; the model is gathered in bf16, once a rollout as a whole."""
    case = rl(engine="fsdp2", devices=8)
    found = parts(case, "optimizer")
    assert [found[part] for part in ("weights", "gradients", "optimizer")] == pytest.approx(
        [4 * TOTAL_7B / 8, 4 * TOTAL_7B / 8, 8 * TOTAL_7B / 8]
    )
    assert parts(case, "rollout")["gathered"] == 2 * TOTAL_7B
    sizes = sizes_of("qwen2_5_vl_7b")
    assert parts(case, "backward")["gathered"] == 2 * (sizes.rest + 2 * sizes.layer)
    assert 2 * sizes.embeddings < sizes.rest < 2.2 * sizes.embeddings  # embeddings, head, merger, patches


def test_offload_puts_weights_moments_and_masters_on_the_host():
    memory = plan_memory(sft(engine="zero3_offload", devices=8), sizes_of("qwen2_5_vl_7b"))
    small = 2 * sizes_of("qwen2_5_vl_7b").small(100_000)
    found = memory.moments["optimizer"]
    assert found["optimizer"] == found["gradients"] == 0 and found["weights"] == small
    assert memory.host == pytest.approx((18 * TOTAL_7B - small) / 8)


def test_gradients_on_their_way_by_hand():
    """Embeddings and head at the end: bf16 gradients and float32 copies; ZeRO-2 takes its part of the rest at once."""
    sizes = sizes_of("qwen2_5_vl_7b")
    cases = {name: sft(engine=name, devices=8) for name in ENGINES}
    last = {name: planned_state.exchanged_gradients(case, sizes) for name, case in cases.items()}
    early = {name: planned_state.early_gradients(case, sizes) for name, case in cases.items()}
    assert last["fsdp2"] == (2 + 4) * sizes.rest and last["ddp"] == 0
    assert last["zero2"] == (2 + 4) * sizes.one and last["zero3"] == (2 + 8) * sizes.one
    assert {name for name, size in early.items() if size} == {"zero2"} and early["zero2"] == 2 * TOTAL_7B / 8
    assert sizes.one == sizes.embeddings == sizes.head
    assert parts(cases["zero2"], "backward")["exchange"] == last["zero2"] + early["zero2"]


def test_what_is_small_stays_whole():
    none, some = (parts(sft(engine="zero3", devices=8, keep_whole=most), "optimizer") for most in (0, 10**7))
    assert none["weights"] == pytest.approx(2 * TOTAL_7B / 8) and some["weights"] > 1.05 * none["weights"]


@pytest.mark.parametrize(("engine", "share"), [("ddp", 1.0), ("zero2", 1.0), ("zero3", 1 / 8), ("fsdp2", 1 / 8)])
def test_a_reference_is_spread_as_weights_are_and_adapters_need_none(engine, share):
    where = {"engine": engine, "devices": 8, "keep_whole": 0}
    root = 2 * sizes_of("qwen2_5_vl_7b").rest if engine == "fsdp2" else 0  # gathered by its first pass, never released
    assert parts(rl(**where), "rollout")["reference"] == pytest.approx(2 * TOTAL_7B * share + root)
    assert "reference" not in parts(rl(kl=False, **where), "rollout")
    assert "reference" not in parts(rl("qwen2_5_vl_7b_lora", **where), "rollout", "qwen2_5_vl_7b_lora")


def test_loading_takes_whole_models_in_every_process():
    ddp, wide = (
        plan_memory(rl(engine=name, devices=8), sizes_of("qwen2_5_vl_7b")).loading for name in ("ddp", "fsdp2")
    )
    assert ddp == 4 * TOTAL_7B and wide == 6 * TOTAL_7B  # policy and reference; fsdp2 widens the policy


def test_adapters_alone_have_gradients_and_moments():
    sizes = sizes_of("qwen2_5_vl_7b_lora")
    found = parts(sft("qwen2_5_vl_7b_lora"), "optimizer", "qwen2_5_vl_7b_lora")
    assert found["gradients"] == 4 * sizes.adapters and found["optimizer"] == 8 * sizes.adapters
    assert 30e6 < sizes.adapters < 60e6


def test_four_bits():
    whole, four = (
        parts(sft(name), "optimizer", name)["weights"] for name in ("qwen2_5_vl_7b_lora", "qwen2_5_vl_7b_qlora")
    )
    assert four < 0.45 * whole  # embeddings, head and vision tower stay in bf16


@pytest.mark.parametrize(("name", "card_gib"), [("qwen2_5_vl_7b_lora", 48), ("qwen3_vl_8b_lora", 48)])
@pytest.mark.parametrize("step", [sft, rl])
def test_adapters_fit_the_card_that_they_are_for(name, card_gib, step):
    assert plan_memory(step(name), sizes_of(name)).peak < 0.92 * card_gib * GIB
    four = name.replace("lora", "qlora")
    assert plan_memory(step(four), sizes_of(four)).peak < 0.92 * card_gib / 2 * GIB


def test_sharding_over_more_devices_never_needs_more():
    for engine in ("zero2", "zero3", "fsdp2"):
        peaks = [plan_memory(rl(engine=engine, devices=n), sizes_of("qwen2_5_vl_7b")).peak for n in (1, 2, 8, 64)]
        assert peaks == sorted(peaks, reverse=True) and peaks[0] > peaks[-1]


def test_what_a_rollout_holds_grows_with_the_group_and_its_prompt_is_there_once():
    small, large = (parts(rl(group_size=g), "rollout") for g in (4, 8))
    assert large["keys and values"] == 2 * small["keys and values"]  # completions alone: the prompt's are its graph's
    assert large["prompt graph"] == small["prompt graph"]


@pytest.mark.parametrize("way", ["kept", "split", "dense"])
def test_checkpointing_keeps_less(way):
    case = rl(prompt_pass=way)
    without = replace(case, spec=replace(case.spec, gradient_checkpointing=False))
    sizes = sizes_of("qwen2_5_vl_7b")
    with_it, all_of_it = (sum(activation_parts(c, sizes).values()) for c in (case, without))
    assert with_it < 0.5 * all_of_it


def test_dense_rows_carry_the_prompt_in_each():
    sizes = sizes_of("qwen2_5_vl_7b")
    dense, split = (activation_parts(rl(prompt_pass=way), sizes)["activations"] for way in ("dense", "split"))
    assert dense > 2 * split


# What autograd keeps, counted from its own hooks.


def kept_bytes(policy, run):
    weights = {p.untyped_storage().data_ptr() for p in policy.model.parameters()}
    seen = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            seen[storage.data_ptr()] = (storage.nbytes(), tensor)  # held, so that no place is used twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept):
        held = run()
    del held
    return sum(size for size, _ in seen.values())


@pytest.mark.parametrize("family", tiny.FAMILIES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("way", ["split", "dense"])
def test_activations_are_what_autograd_keeps(family, dtype, way):
    spec = replace(tiny.spec(family), dtype=dtype, linear="torch")
    policy = make_policy(spec, random_tokenizer(4000), 0)
    policy.model.to(getattr(torch, dtype)).train()
    prompt = frames_prompt(policy, 400, policy.family.factor * 4, 0)
    encoded = policy.encode([prompt])
    encoded = replace(encoded, pixel_values=encoded.pixel_values.to(getattr(torch, dtype)))
    ids = torch.randint(300, 1000, (4, 48))
    score = packed_scores if way == "split" else dense_scores
    truth = kept_bytes(policy, lambda: score(policy, encoded, ids, torch.ones_like(ids).bool()).logprobs)
    lengths = Lengths(400, 48, len(prompt.clip.frames), 16, "given")
    case = PlanCase(spec, "cpu", 1, "rl", False, 4, 1, 1, 1, way, None, lengths, False, 0)
    expected = activation_parts(case, read_sizes(spec, 4000))["activations"]
    assert expected == pytest.approx(truth, rel=0.08)


def test_a_token_in_a_layer_by_hand():
    text = SimpleNamespace(
        hidden_size=8, num_attention_heads=4, num_key_value_heads=2, intermediate_size=16, model_type="qwen2_5_vl_text"
    )
    assert text_layer(text, 4, None).kept == 4 * (6 * 8 + 3 * 8 + 2 * 4 + 4 * 16)
    assert text_layer(text, 2, None).kept == 2 * (4 * 8 + 3 * 8 + 2 * 4 + 4 * 16) + 4 * 2 * 8


# Mutants: plans that forget something are not believed by the tests above.


def test_a_plan_without_optimizer_state_is_caught(monkeypatch):
    right = planning.held_parts

    def wrong(case, sizes):
        state, host = right(case, sizes)
        return state | {"optimizer": 0.0}, host

    monkeypatch.setattr(planning, "held_parts", wrong)
    for test in (test_a_full_model_on_one_card_by_hand, test_zero_by_hand, test_fsdp2_by_hand):
        with pytest.raises(AssertionError):
            test()


def test_a_plan_that_forgets_sharding_is_caught(monkeypatch):
    monkeypatch.setattr(planned_state, "_share", lambda case, sharded: 1.0)
    for test in (test_zero_by_hand, test_sharding_over_more_devices_never_needs_more):
        with pytest.raises(AssertionError):
            test()


# Layouts by name.


@pytest.mark.parametrize("name", list(ENGINES))
def test_every_layout_can_be_planned(name):
    assert plan_memory(rl(engine=name, devices=8), sizes_of("qwen2_5_vl_7b")).peak > 0
    assert find_engine(f"deepspeed_{name}") == find_engine(name)


def test_layouts_are_those_of_training():
    assert set(ENGINES) - {"cpu", "gpu"} == set(LAYOUTS)
    assert {name for name in LAYOUTS if ENGINES[name].shards_weights} == set(SHARDED)
    assert set(PRESETS) == set(LAYOUTS) - {"ddp"}
    for layout, name in PRESETS.items():
        assert f"layout: {layout}\n" in (CONF / "trainer" / f"{name}.yaml").read_text()


@pytest.mark.parametrize(
    ("stage", "layout", "host"), [(2, "zero2", False), (3, "zero3", False), (3, "zero3_offload", True)]
)
def test_zero_is_planned_as_it_is_configured(stage, layout, host):
    engine = ENGINES[layout]
    for device, on_gpu in (("cuda", True), ("cpu", False)):
        config = zero_config(stage, host, 1.0, "bfloat16", device, 0)
        zero = config["zero_optimization"]
        assert zero["reduce_bucket_size"] == BUCKET_NUMBERS[on_gpu]
        assert config["data_types"]["grad_accum_dtype"] == config["communication_data_type"] == "fp32"
        assert ("offload_param" in zero and "offload_optimizer" in zero) == engine.on_host
        assert not {"stage3_max_reuse_distance", "sub_group_size"} & zero.keys()  # DeepSpeed's own, as in `ENGINES`


def test_defaults_of_deepspeed_are_those_planned_with():
    config = pytest.importorskip("deepspeed.runtime.zero.config").DeepSpeedZeroConfig()
    assert config.max_reuse_distance == ENGINES["zero3"].holds_ahead
    assert config.sub_group_size == ENGINES["zero3"].update_numbers


@pytest.mark.parametrize(
    ("layout", "accelerator", "processes", "name"),
    [("ddp", "gpu", 1, "gpu"), ("ddp", "cpu", 1, "cpu"), ("ddp", "cpu", 2, "ddp"), ("zero3", "gpu", 1, "zero3")],
)
def test_the_layout_of_a_trainer(layout, accelerator, processes, name):
    assert engine_of(layout, {"accelerator": accelerator}, processes) == name


def test_a_kept_prompt_is_read_again_where_weights_are_released():
    assert rl(engine="zero2", devices=8).way == "kept" and rl(engine="zero3", devices=8).way == "split"


def test_presets_of_the_tests_are_those_of_the_commands():
    assert preset("qwen2_5_vl_7b_qlora").quantization == "nf4" and not preset("qwen2_5_vl_7b_qlora").train_vision
