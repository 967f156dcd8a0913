"""Low-rank adapters: which layers get one, the same model without it, and the weights with it built in.

W x becomes W x + (alpha / rank) B A x with A [rank, in] and B [out, rank]; only A and B are trained (LoRA,
arXiv 2106.09685, section 4.1). B starts at zero, so a new adapter changes nothing, and the model with its adapter off
is the model that training started from: the reference of the KL term needs no second copy.

The layers are replaced inside the model (peft), whose own structure stays: `model.model.visual`,
`model.model.language_model` and `model.lm_head` are where they were.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from o3v.errors import ConfigError, DataError

if TYPE_CHECKING:
    from torch import Tensor

    from o3v.models.policy import Policy

_SEED = 0
_FACTOR = re.compile(r"(.+)\.lora_([AB])(?:\.\w+)?\.weight")
_LANGUAGE = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_VISION = {
    "qwen2_5_vl": ("qkv", "proj", "gate_proj", "up_proj", "down_proj"),
    "qwen3_vl": ("qkv", "proj", "linear_fc1", "linear_fc2"),
}


@dataclass(frozen=True)
class LoraSettings:
    """Adapters of a model (key `lora` of conf/model).

    There is no dropout: the policy that samples and the policy that learns must be one function.

    Attributes:
        rank: columns of the factors; 0 trains the whole model.
        alpha: the adapter's output is scaled by alpha / rank.
        target_modules: linear layers that get one, by the last part of their name. A bare name is a layer of the
            language model; `visual.NAME` is one of the vision tower's blocks. The head is not among them: it is
            applied to chosen positions by its weight alone.
    """

    rank: int
    alpha: int
    target_modules: Sequence[str]

    def check(self, family: str) -> None:
        """Refuse what a family cannot have; a rank of 0 is checked too, so that a mistake shows before it counts.

        Raises:
            ConfigError: names the key, the value and what is allowed.
        """
        if self.rank < 0:
            raise ConfigError(f"model.lora.rank={self.rank} is not allowed, expected 0 (train everything) or more")
        if self.alpha <= 0:
            raise ConfigError(f"model.lora.alpha={self.alpha} is not allowed, expected more than 0")
        if self.rank and not self.target_modules:
            raise ConfigError("model.lora.target_modules is empty, with model.lora.rank above 0 nothing would learn")
        allowed = adaptable(family)
        unknown = [name for name in self.target_modules if name not in allowed]
        if unknown:
            raise ConfigError(f"model.lora.target_modules: {unknown} not in a {family}; allowed are {list(allowed)}")


def adaptable(family: str) -> tuple[str, ...]:
    """Names that `target_modules` may hold for a family.

    >>> adaptable("qwen3_vl")[-2:]
    ('visual.linear_fc1', 'visual.linear_fc2')
    """
    return (*_LANGUAGE, *(f"visual.{name}" for name in _VISION[family]))


def add_adapter(policy: Policy, settings: LoraSettings) -> None:
    """Put adapters into a model and freeze everything else, in place.

    The start is always the same (A from a fixed seed, B zero) and the global random state stays as it is. Adapters of
    a model in half precision are float32.
    """
    import torch
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=0.0,
        target_modules=_layers(policy.model, settings.target_modules),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        inject_adapter_in_model(config, policy.model)
    for name, weight in policy.model.named_parameters():
        if ".lora_" in name:
            weight.data = weight.data.float()


def adapter_parameters(model: Any, settings: LoraSettings) -> int:
    """How many parameters adapters of a model would have; the model may be on the meta device and stays as it is."""
    if not settings.rank:
        return 0
    names = set(_layers(model, settings.target_modules))
    layers = [module for name, module in model.named_modules() if name in names]
    return sum(settings.rank * (layer.in_features + layer.out_features) for layer in layers)


def has_adapter(policy: Policy) -> bool:
    """Whether adapters were put into the model."""
    return hasattr(policy.model, "peft_config")


@contextmanager
def adapter_off(policy: Policy) -> Iterator[None]:
    """The model as it was before training, for the time of the block; a model without adapter stays as it is.

    Forward and backward pass of what is computed inside must both be inside: gradient checkpointing computes anew in
    the backward pass, with what is on then. References are scored without gradients, where nothing of it matters.
    """
    layers = list(_adapted(policy.model).values()) if has_adapter(policy) else []
    weights = [(weight, weight.requires_grad) for layer in layers for weight in layer.parameters()]
    were_off = [layer.disable_adapters for layer in layers]
    try:
        for layer in layers:
            layer.enable_adapters(False)
        yield
    finally:
        for layer, was_off in zip(layers, were_off, strict=True):
            layer.enable_adapters(not was_off)
        for weight, was_trained in weights:  # switching an adapter also switches whether it is trained
            weight.requires_grad_(was_trained)


def merged_weights(policy: Policy) -> dict[str, Tensor]:
    """Weights of a plain model that computes what this one computes with its adapter on; the model stays as it is.

    Returns:
        State dictionary under the plain model's names; merged matrices are new ones on the host, summed in float32.
    """
    from peft.utils.integrations import dequantize_module_weight

    adapted = _adapted(policy.model)
    bases = {f"{name}.base_layer": layer.get_base_layer() for name, layer in adapted.items()}
    state = {name: value for name, value in policy.model.state_dict().items() if not _is_scale(name)}
    for name, layer in (bases | _in_four_bits(policy.model)).items():
        state[f"{name}.weight"] = dequantize_module_weight(layer).detach()  # the weight itself where not quantised
    return merged_state(state, adapter_scale(policy))


def adapter_scale(policy: Policy) -> float:
    """Alpha / rank, the same for all adapters of a policy that has some."""
    layers = _adapted(policy.model).values()
    (scale,) = {float(layer.scaling[name]) for layer in layers for name in layer.active_adapters}
    return scale


def merged_state(state: Mapping[str, Tensor], scale: float) -> dict[str, Tensor]:
    """The state dictionary of a plain model from that of one with adapters: W + scale * B A, summed in float32.

    Args:
        state: with "X.base_layer.weight" [out, in], "X.lora_A.NAME.weight" [rank, in] and "X.lora_B.NAME.weight"
            [out, rank] for every layer X with an adapter, one adapter a layer; all other entries stay as they are.
        scale: alpha / rank.

    Returns:
        "X.weight" in place of the three, in the type of the base and on the host; every other name as it was.

    Raises:
        DataError: one of a layer's three parts is missing, or the shapes do not belong together.

    Example:
        >>> import torch
        >>> x = {"x.base_layer.weight": torch.eye(2), "x.base_layer.bias": torch.ones(2)}
        >>> x |= {"x.lora_A.default.weight": torch.ones(1, 2), "x.lora_B.default.weight": torch.ones(2, 1)}
        >>> {name: value.tolist() for name, value in merged_state(x, 0.5).items()}
        {'x.weight': [[1.5, 0.5], [0.5, 1.5]], 'x.bias': [1.0, 1.0]}
    """
    factors = _factors(state)
    plain = {name.replace(".base_layer.", "."): value for name, value in state.items() if ".lora_" not in name}
    for layer, (a, b) in factors.items():
        base = state.get(f"{layer}.base_layer.weight")
        if base is None or base.shape != (b.shape[0], a.shape[1]) or a.shape[0] != b.shape[1]:
            shapes = [None if base is None else tuple(base.shape), tuple(a.shape), tuple(b.shape)]
            raise DataError(f"{layer}: base, A and B of shapes {shapes} are no layer with an adapter")
        delta = (b.detach().float() @ a.detach().float()) * scale
        plain[f"{layer}.weight"] = (base.detach().float() + delta.to(base.device)).to(base.dtype).cpu()
    return plain


def adapter_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The adapters alone, under the names that peft's own folders have.

    >>> sorted(adapter_state({"m.x.lora_A.default.weight": 1, "m.x.base_layer.weight": 2}))
    ['base_model.model.m.x.lora_A.weight']
    """
    found = {_FACTOR.fullmatch(name): value for name, value in state.items()}
    return {f"base_model.model.{m[1]}.lora_{m[2]}.weight": value for m, value in found.items() if m is not None}


def _factors(state: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """Layer -> its A and B."""
    found: dict[str, dict[str, Tensor]] = {}
    for name, value in state.items():
        matched = _FACTOR.fullmatch(name)
        if matched is None:
            if ".lora_" in name:
                raise DataError(f"{name}: no A or B of an adapter that could be built in")
            continue
        layer, side = matched[1], matched[2]
        if side in found.setdefault(layer, {}):
            raise DataError(f"{layer}: has more than one adapter; only one can be built in")
        found[layer][side] = value
    halves = [layer for layer, sides in found.items() if len(sides) < 2]
    if halves:
        raise DataError(f"{halves[0]}: only one half of its adapter is there")
    return {layer: (sides["A"], sides["B"]) for layer, sides in found.items()}


def _is_scale(name: str) -> bool:
    """Whether an entry of a state dictionary belongs to a weight in 4 bits: "...weight.absmax" and its kind."""
    return ".weight." in name


def _in_four_bits(model: Any) -> dict[str, Any]:
    """Quantised layers without an adapter, by name; those with one are reached through it."""
    found = {name: module for name, module in model.named_modules() if type(module).__name__ == "Linear4bit"}
    return {name: module for name, module in found.items() if not name.endswith(".base_layer") and ".lora_" not in name}


def _layers(model: Any, names: Sequence[str]) -> list[str]:
    """Full names of the linear layers that are meant."""
    import torch

    language = [name for name in names if not name.startswith("visual.")]
    vision = [name.removeprefix("visual.") for name in names if name.startswith("visual.")]
    wanted = {"model.language_model.layers.": language, "model.visual.blocks.": vision}
    return [
        place
        for place, module in model.named_modules()
        for start, meant in wanted.items()
        if place.startswith(start) and place.rpartition(".")[2] in meant and isinstance(module, torch.nn.Linear)
    ]


def _adapted(model: Any) -> dict[str, Any]:
    """Layers with an adapter, by name."""
    from peft.tuners.lora import LoraLayer

    return {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}
