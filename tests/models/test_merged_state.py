"""Merging as a function of a state dictionary: the formula, every layer, nothing else; 4 bits back to whole weights."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from o3v.errors import DataError
from o3v.models.four_bits import whole_weights
from o3v.models.lora import adapter_state, merged_state

sizes = st.integers(1, 6)


def adapted(layers, seed, name=".default"):
    """A state of layers (out, in, rank), with a bias each and a weight beside them."""
    generator = torch.Generator().manual_seed(seed)
    state = {"norm.weight": torch.randn(3, generator=generator)}
    for number, (out, into, rank) in enumerate(layers):
        start = f"m.layers.{number}.q_proj"
        state[f"{start}.base_layer.weight"] = torch.randn(out, into, generator=generator)
        state[f"{start}.base_layer.bias"] = torch.randn(out, generator=generator)
        state[f"{start}.lora_A{name}.weight"] = torch.randn(rank, into, generator=generator)
        state[f"{start}.lora_B{name}.weight"] = torch.randn(out, rank, generator=generator)
    return state


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(sizes, sizes, sizes), max_size=4),
    st.floats(-4, 4),
    st.randoms(),
    st.sampled_from(["", ".default"]),
)
def test_the_formula_for_every_layer_in_any_order(layers, scale, random, name):
    state = adapted(layers, 0, name)
    items = list(state.items())
    random.shuffle(items)
    found = merged_state(dict(items), scale)
    assert found.keys() == {"norm.weight"} | {
        f"m.layers.{number}.q_proj.{kind}" for number in range(len(layers)) for kind in ("weight", "bias")
    }
    assert torch.equal(found["norm.weight"], state["norm.weight"])
    x = torch.randn(2, 8, generator=torch.Generator().manual_seed(1))
    for number, (_, into, _) in enumerate(layers):
        start = f"m.layers.{number}.q_proj"
        base, a, b = (state[f"{start}.{part}.weight"] for part in ("base_layer", f"lora_A{name}", f"lora_B{name}"))
        wanted = x[:, :into] @ base.T + scale * (x[:, :into] @ a.T) @ b.T
        assert torch.allclose(x[:, :into] @ found[f"{start}.weight"].T, wanted, atol=1e-3, rtol=1e-4)
        assert torch.equal(found[f"{start}.bias"], state[f"{start}.base_layer.bias"])


def test_a_state_without_adapters_stays():
    state = {"a.weight": torch.ones(2), "b": torch.zeros(1)}
    found = merged_state(state, 0.0)
    assert found.keys() == state.keys() and all(found[name] is state[name] for name in state)


@pytest.mark.parametrize("part", ["base_layer", "lora_A.default", "lora_B.default"])
def test_a_part_that_is_missing_is_named(part):
    state = adapted([(4, 3, 2), (4, 3, 2)], 0)
    del state[f"m.layers.1.q_proj.{part}.weight"]
    with pytest.raises(DataError, match=r"m\.layers\.1\.q_proj: "):
        merged_state(state, 1.0)


def test_shapes_and_names_that_do_not_belong_together():
    state = adapted([(4, 3, 2)], 0)
    start = "m.layers.0.q_proj"
    with pytest.raises(DataError, match=r"\(4, 3\), \(2, 3\), \(4, 1\)"):
        merged_state(state | {f"{start}.lora_B.default.weight": torch.ones(4, 1)}, 1.0)
    with pytest.raises(DataError, match="more than one adapter"):
        merged_state(state | {f"{start}.lora_A.second.weight": torch.ones(2, 3)}, 1.0)
    with pytest.raises(DataError, match=r"lora_magnitude_vector: no A or B"):
        merged_state(state | {f"{start}.lora_magnitude_vector": torch.ones(4)}, 1.0)


def test_sums_are_float32_and_the_base_keeps_its_type():
    state = {name: value.bfloat16() if "base" in name else value for name, value in adapted([(8, 8, 2)], 3).items()}
    start = "m.layers.0.q_proj"
    base, a, b = (state[f"{start}.{part}.weight"] for part in ("base_layer", "lora_A.default", "lora_B.default"))
    found = merged_state(state, 0.37)[f"{start}.weight"]
    assert torch.equal(found, (base.float() + b @ a * 0.37).bfloat16()), "rounded once, at the end"


def test_adapters_under_the_names_of_peft():
    state = adapted([(4, 3, 2)], 0)
    names = {f"base_model.model.m.layers.0.q_proj.lora_{side}.weight" for side in "AB"}
    assert adapter_state(state).keys() == names


# ---- 4 bits; the file was written by bitsandbytes 0.50.2 on a CPU, with what it makes of its own bytes


@pytest.mark.parametrize("kind", ["nested", "flat"])
def test_four_bits_are_what_bitsandbytes_makes_of_them(kind):
    golden = load_file(Path(__file__).parent / "nf4.safetensors")
    state = {name.removeprefix(f"{kind}."): value for name, value in golden.items() if name.startswith(f"{kind}.")}
    assert any(name.endswith("nested_absmax") for name in state) == (kind == "nested")
    found = whole_weights({f"x.base_layer.{name}": value for name, value in state.items()} | {"y": torch.ones(1)})
    assert found.keys() == {"x.base_layer.weight", "y"}
    assert torch.equal(found["x.base_layer.weight"], golden[f"right.{kind}"])


def test_four_bits_without_their_table_are_told():
    golden = load_file(Path(__file__).parent / "nf4.safetensors")
    state = {name.removeprefix("flat."): value for name, value in golden.items() if name.startswith("flat.")}
    del state["weight.quant_map"]
    with pytest.raises(DataError, match=r"weight: its 4 bits cannot be read"):
        whole_weights(state)
