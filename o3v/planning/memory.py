"""Peak memory of a device by part, at the moments of a step when it is highest.

    rollout    weights, reference, optimizer, kept prompt graph, keys and values, the sampler's logits
    backward   weights, reference, optimizer, gradients, activations, head, one layer at work, gradients on their way
    optimizer  weights, reference, optimizer, gradients, what the update needs meanwhile

docs/memory.md derives the parts and says what they leave out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from o3v.planning.activations import Layer, text_bytes, text_layer, vision_block, vision_bytes
from o3v.planning.case import PlanCase
from o3v.planning.engines import find_engine
from o3v.planning.sizes import Sizes
from o3v.planning.state import (
    early_gradients,
    exchanged_gradients,
    gathered_weights,
    held_gradients,
    held_parts,
    loading_bytes,
    update_bytes,
    weight_bytes,
)

GIB = 2**30
_FLOAT = 4
_CHUNK = {False: 2**22, True: 2**27}
"""Logits that exist at one time in the head, on a CPU and on a GPU (`o3v.models.head`)."""

_CHUNK_COPIES = 3
_KEPT_LOGITS = 2**25
"""So many probabilities of a pass the head keeps for its backward pass; none of more."""

_SAMPLER_BYTES = 24
"""Of one logit while a token is drawn: float32, its probabilities, and cumulated in float64 with a copy."""


@dataclass(frozen=True)
class Memory:
    """Bytes of a device by part, at each moment, and on the host for it.

    Attributes:
        moments: moment -> part -> bytes.
        host: bytes of what an engine keeps on the host for one device.
        loading: bytes on the host in each process while policy and reference are loaded, before they are spread.
    """

    moments: Mapping[str, Mapping[str, float]]
    host: float
    loading: float

    @property
    def moment(self) -> str:
        """The moment of the peak."""
        return max(self.moments, key=lambda name: sum(self.moments[name].values()))

    @property
    def peak(self) -> float:
        """Bytes at that moment."""
        return sum(self.moments[self.moment].values())


def plan_memory(case: PlanCase, sizes: Sizes) -> Memory:
    """Expected memory of one device.

    Args:
        case: the step.
        sizes: of the case's model.
    """
    state, host = held_parts(case, sizes)
    gradients = held_gradients(case, sizes)
    if find_engine(case.engine).keeps_gradients:
        state["gradients"] = gradients
    moments = {
        "backward": state | _backward(case, sizes, gradients),
        "optimizer": state | {"gradients": gradients} | {"update": update_bytes(case, sizes)},
    }
    if case.kind == "rl":
        moments = {"rollout": state | _rollout(case, sizes)} | moments
    return Memory(moments, host, loading_bytes(case, sizes))


def _layer(case: PlanCase, sizes: Sizes) -> Layer:
    names = tuple(case.spec.lora.target_modules) if sizes.adapters else None
    return text_layer(sizes.text, case.bytes_each, names)


def _prompt_bytes(case: PlanCase, sizes: Sizes, prompts: int, keeps_keys: bool) -> float:
    """Graph of prompts that were read once."""
    return _vision(case, sizes, prompts) + text_bytes(
        sizes.text,
        _layer(case, sizes),
        prompts * case.lengths.prompt,
        prompts,
        case.spec.gradient_checkpointing,
        keeps_keys,
    )


def _vision(case: PlanCase, sizes: Sizes, prompts: int) -> float:
    """Graph of the frames; none where nothing in the tower learns."""
    if not case.spec.train_vision or (sizes.adapters and not _adapts_vision(case)):
        return 0.0
    patches = prompts * case.lengths.patches(sizes.vision.spatial_merge_size)
    return vision_bytes(sizes.vision, patches, case.bytes_each, case.spec.gradient_checkpointing)


def _adapts_vision(case: PlanCase) -> bool:
    return any(name.startswith("visual.") for name in case.spec.lora.target_modules)


def activation_parts(case: PlanCase, sizes: Sizes) -> dict[str, float]:
    """What the backward pass of one training pass needs: prompt graph, the rest of the row, one layer at work."""
    layer, checks = _layer(case, sizes), case.spec.gradient_checkpointing
    together, group = case.pass_prompts, case.group_size
    own = group * case.lengths.completion
    if case.way == "dense":
        rows = together * group
        tokens = rows * (case.lengths.prompt + case.lengths.completion)
        parts = {
            "activations": _vision(case, sizes, rows) + text_bytes(sizes.text, layer, tokens, tokens, checks, False)
        }
    elif case.way == "kept":
        tokens = together * own
        kept = _prompt_bytes(case, sizes, case.prompts, True)
        parts = {"prompt graph": kept, "activations": text_bytes(sizes.text, layer, tokens, tokens, checks, False)}
        tokens = max(tokens, together * case.lengths.prompt)
    else:
        read = together * (own + 1)
        tokens = together * (case.lengths.prompt + own)
        row = text_bytes(sizes.text, layer, tokens, tokens if case.way == "mask" else read, checks, False)
        mask = float(tokens**2) if case.way == "mask" else 0.0
        parts = {"activations": _vision(case, sizes, together) + row + mask}
    return parts | {"layer at work": _working(case, sizes, tokens)}


def _working(case: PlanCase, sizes: Sizes, tokens: int) -> float:
    """One layer in the backward pass: computed again under checkpointing, and its gradients."""
    layer, block = _layer(case, sizes), vision_block(sizes.vision, case.bytes_each)
    again = 1.0 if case.spec.gradient_checkpointing else 0.0
    rows = case.pass_prompts * (case.group_size if case.way == "dense" else 1)
    patches = rows * case.lengths.patches(sizes.vision.spatial_merge_size)
    return max(tokens * (again * layer.kept + layer.working), patches * (again * block.kept + block.working))


def _head(case: PlanCase, sizes: Sizes) -> float:
    """Logits of a chunk, probabilities that are kept, and states of the scored tokens."""
    scored = case.pass_prompts * case.group_size * case.lengths.completion
    logits = scored * sizes.text.vocab_size
    chunk = min(_CHUNK[case.on_gpu], logits) * _FLOAT * _CHUNK_COPIES
    chunk += logits * _FLOAT if logits <= _KEPT_LOGITS else 0
    return chunk + 3 * scored * sizes.text.hidden_size * case.bytes_each


def _head_gradient(case: PlanCase, sizes: Sizes) -> float:
    """Of the head's weight, summed in float32 and then cast; adapters leave the head frozen."""
    each = _FLOAT + (case.bytes_each if case.bytes_each < _FLOAT else 0)
    return 0.0 if sizes.adapters else float(sizes.text.vocab_size * sizes.text.hidden_size * each)


def _backward(case: PlanCase, sizes: Sizes, gradients: float) -> dict[str, float]:
    """The highest of its turns: the head's, that of the first layer to go back, that of the last, the exchange's.

    In the first two all activations are there, and gradients only where earlier passes of the update have left some.
    """
    parts = activation_parts(case, sizes)
    head, working = _head(case, sizes), parts.pop("layer at work")
    has_some = case.passes > 1 or find_engine(case.engine).keeps_gradients
    weight, before = _head_gradient(case, sizes), gradients if has_some else 0.0
    start = parts | {"head": head + weight, "gradients": before}
    early = early_gradients(case, sizes)
    between = parts | {"head": weight, "layer at work": working, "gradients": before, "exchange": early}
    end = {"gradients": gradients, "layer at work": working, "exchange": early}
    last = {"gradients": gradients, "exchange": early + exchanged_gradients(case, sizes)}
    chosen = max((start, end, between, last), key=lambda found: sum(found.values()))
    return chosen | gathered_weights(case, sizes)


def _rollout(case: PlanCase, sizes: Sizes) -> dict[str, float]:
    """Decoding: keys and values of prompts in one copy, of completions in full length, logits of one step.

    Engines that shard weights gather all of them once a rollout.
    """
    layer, rows = _layer(case, sizes), case.prompts * case.group_size
    depth, lengths = sizes.text.num_hidden_layers, case.lengths
    prompt_keys = 0.0 if case.way == "kept" else case.prompts * lengths.prompt * layer.keys * depth
    parts = {
        "keys and values": prompt_keys + rows * lengths.completion * layer.keys * depth,
        "sampler": rows * sizes.text.vocab_size * _SAMPLER_BYTES,
    }
    if case.way == "kept":
        parts["prompt graph"] = _prompt_bytes(case, sizes, case.prompts, True)
    if find_engine(case.engine).shards_weights:
        parts["gathered"] = weight_bytes(case, sizes)  # in the type in which the model computes
    return parts
