"""Peak memory of a device by part, at the moments of a step when it is highest.

    rollout    weights, reference, optimizer, kept prompt graph, keys and values, the sampler's logits
    backward   weights, reference, optimizer, gradients, activations, head, one layer at work
    optimizer  weights, reference, optimizer, gradients, what the update needs meanwhile

docs/memory.md derives the parts and says what they leave out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from o3v.models.load import ModelSpec
from o3v.planning.activations import Layer, text_bytes, text_layer, vision_block, vision_bytes
from o3v.planning.engines import find_engine
from o3v.planning.sizes import NF4_BYTES, Sizes

GIB = 2**30
_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_FLOAT = 4
_CHUNK = {False: 2**22, True: 2**27}
"""Logits that exist at one time in the head, on a CPU and on a GPU (`o3v.models.head`)."""

_CHUNK_COPIES = 3
_KEPT_LOGITS = 2**25
"""So many probabilities of a pass the head keeps for its backward pass; none of more."""

_SAMPLER_BYTES = 24
"""Of one logit while a token is drawn: float32, its probabilities, and cumulated in float64 with a copy."""


@dataclass(frozen=True)
class Lengths:
    """The largest sample that a step meets.

    Attributes:
        prompt: P, tokens of the prompt, frames included.
        completion: L, tokens of a completion (RL) or of the target (SFT).
        frames: images.
        frame_tokens: vision tokens of one.
        source: where these come from, in words.
    """

    prompt: int
    completion: int
    frames: int
    frame_tokens: int
    source: str

    def patches(self, merge: int) -> int:
        """Vision patches of the sample."""
        return self.frames * self.frame_tokens * merge**2


@dataclass(frozen=True)
class PlanCase:
    """One planned step.

    Attributes:
        spec: the model preset.
        engine: a key of `o3v.planning.engines.ENGINES`.
        devices: over which the engine shards.
        kind: sft or rl.
        kl: the objective has a KL term, so there is a reference.
        group_size: G, 1 for SFT.
        prompts: of a device's batch.
        minibatches: optimizer steps a rollout.
        updates_per_rollout: passes over a rollout.
        prompt_pass: kept, split, mask or dense (`o3v.training.learner.PassSettings`).
        prompts_per_pass: prompts that go through together; None for all of an update's.
        lengths: of every prompt of the step.
        on_gpu: the devices are GPUs.
    """

    spec: ModelSpec
    engine: str
    devices: int
    kind: str
    kl: bool
    group_size: int
    prompts: int
    minibatches: int
    updates_per_rollout: int
    prompt_pass: str
    prompts_per_pass: int | None
    lengths: Lengths
    on_gpu: bool

    @property
    def bytes_each(self) -> int:
        """Of a weight."""
        return _BYTES[self.spec.dtype]

    @property
    def update_prompts(self) -> int:
        """Prompts of one optimizer step."""
        return self.prompts if self.kind == "sft" else -(-self.prompts // min(self.minibatches, self.prompts))

    @property
    def pass_prompts(self) -> int:
        """Prompts of one pass; SFT knows no smaller one than its batch."""
        if self.kind == "sft" or self.prompts_per_pass is None:
            return self.update_prompts
        return min(self.prompts_per_pass, self.update_prompts)

    @property
    def way(self) -> str:
        """The training pass: `kept` is `split` where a rollout has several updates; SFT is dense."""
        if self.kind == "sft":
            return "dense"
        updates = self.updates_per_rollout * min(self.minibatches, self.prompts)
        return "split" if self.prompt_pass == "kept" and updates > 1 else self.prompt_pass


@dataclass(frozen=True)
class Memory:
    """Bytes of a device by part, at each moment, and on the host for it.

    Attributes:
        moments: moment -> part -> bytes.
        host: bytes of what an engine keeps on the host for one device.
    """

    moments: Mapping[str, Mapping[str, float]]
    host: float

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
    state, host = _state(case, sizes)
    gradients = _gradients(case, sizes)
    moments = {
        "backward": state | _backward(case, sizes, gradients),
        "optimizer": state | {"gradients": gradients} | {"update": _update(case, sizes, gradients)},
    }
    if case.kind == "rl":
        moments = {"rollout": state | _rollout(case, sizes)} | moments
    return Memory(moments, host)


def _share(case: PlanCase, sharded: bool) -> float:
    return 1 / case.devices if sharded else 1.0


def weight_bytes(case: PlanCase, sizes: Sizes) -> float:
    """Of the whole model: quantised layers, adapters in float32, the rest as configured."""
    whole = (sizes.total - sizes.quantised) * case.bytes_each
    return whole + sizes.quantised * NF4_BYTES + sizes.adapters * _FLOAT


def _learned_bytes(case: PlanCase, sizes: Sizes) -> tuple[int, int]:
    """Parameters that learn, and bytes of one."""
    return sizes.learned(case.spec.train_vision), _FLOAT if sizes.adapters else case.bytes_each


def _state(case: PlanCase, sizes: Sizes) -> tuple[dict[str, float], float]:
    """What lies on a device throughout, and what lies on the host."""
    engine = find_engine(case.engine)
    weights = weight_bytes(case, sizes) * _share(case, engine.shards_weights)
    learned, each = _learned_bytes(case, sizes)
    master = engine.master_bytes if each < _FLOAT else 0
    moments = 2 * (_FLOAT if engine.wide_moments else each)
    optimizer = learned * (master + moments) * _share(case, engine.shards_optimizer)
    parts = {"weights": weights, "optimizer": 0.0 if engine.optimizer_on_host else optimizer}
    if case.kl and case.kind == "rl" and not sizes.adapters:
        parts["reference"] = weight_bytes(case, sizes)  # outside of the engine: whole on every device
    if engine.buffers:
        parts["buffers"] = float(engine.buffers)
    return parts, optimizer if engine.optimizer_on_host else 0.0


def _gradients(case: PlanCase, sizes: Sizes) -> float:
    engine = find_engine(case.engine)
    learned, each = _learned_bytes(case, sizes)
    return learned * each * _share(case, engine.shards_gradients) * (2 if engine.copies_gradients else 1)


def _update(case: PlanCase, sizes: Sizes, gradients: float) -> float:
    """AdamW on a GPU works on all weights at once and holds a root of second moments; on a CPU, on one at a time."""
    engine = find_engine(case.engine)
    if engine.optimizer_on_host:
        return 0.0
    learned, each = _learned_bytes(case, sizes)
    one = (max(sizes.embeddings, sizes.head) if not sizes.adapters else 0) * each
    return learned * each * _share(case, engine.shards_optimizer) if case.on_gpu else 2.0 * one


def _gathered(case: PlanCase, sizes: Sizes) -> dict[str, float]:
    """Weights that an engine gathers for the layer at work and the next one."""
    if not find_engine(case.engine).shards_weights:
        return {}
    return {"gathered": min(2.0 * sizes.largest * case.bytes_each, weight_bytes(case, sizes))}


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
    """The highest of its turns: the head's, that of the first layer to go back, that of the last.

    In the first two all activations are there, and gradients only where earlier passes of the update have left some.
    """
    parts = activation_parts(case, sizes)
    head, working = _head(case, sizes), parts.pop("layer at work")
    passes = -(-case.update_prompts // case.pass_prompts)
    weight, before = _head_gradient(case, sizes), gradients if passes > 1 else 0.0
    start = parts | {"head": head + weight, "gradients": before}
    between = parts | {"head": weight, "layer at work": working, "gradients": before}
    end = {"gradients": gradients, "layer at work": working}
    chosen = max((start, end, between), key=lambda found: sum(found.values()))
    return chosen | _gathered(case, sizes)


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
        parts["gathered"] = weight_bytes(case, sizes)
    return parts
