"""What a layout keeps of weights, gradients and optimizer on a device and on its host, throughout and for a while."""

from __future__ import annotations

from o3v.planning.case import PlanCase
from o3v.planning.engines import BUCKET_NUMBERS, find_engine
from o3v.planning.sizes import NF4_BYTES, Sizes

_FLOAT = 4


def weight_bytes(case: PlanCase, sizes: Sizes) -> float:
    """Of the whole model as it computes: quantised layers, adapters in float32, the rest as configured."""
    whole = (sizes.total - sizes.quantised) * case.bytes_each
    return whole + sizes.quantised * NF4_BYTES + sizes.adapters * _FLOAT


def gradient_bytes(case: PlanCase, sizes: Sizes) -> float:
    """Of the whole gradient, as an engine sums it."""
    learned, each = _learned_bytes(case, sizes)
    return float(learned * (_FLOAT if find_engine(case.engine).float_gradients else each))


def _share(case: PlanCase, sharded: bool) -> float:
    return 1 / case.devices if sharded else 1.0


def _learned_bytes(case: PlanCase, sizes: Sizes) -> tuple[int, int]:
    """Parameters that learn, and bytes of one where it computes."""
    return sizes.learned(case.spec.train_vision), _FLOAT if sizes.adapters else case.bytes_each


def _held_weights(case: PlanCase, sizes: Sizes) -> float:
    """Bytes of a whole model as an engine keeps it: float32 where that is where it learns."""
    learned, each = _learned_bytes(case, sizes)
    wider = learned * (_FLOAT - each) if find_engine(case.engine).float_weights else 0
    return weight_bytes(case, sizes) + wider


def _spread(case: PlanCase, sizes: Sizes, whole: float) -> tuple[float, float]:
    """Bytes of a model on a device and on the host, of so many in all."""
    engine = find_engine(case.engine)
    if not engine.shards_weights:
        return whole, 0.0
    kept = sizes.small(case.keep_whole) * case.bytes_each if engine.masters else 0  # DeepSpeed's alone
    part = (whole - kept) / case.devices
    return (float(kept), part) if engine.on_host else (kept + part, 0.0)


def held_parts(case: PlanCase, sizes: Sizes) -> tuple[dict[str, float], float]:
    """What lies on a device throughout, and what lies on the host."""
    engine = find_engine(case.engine)
    weights, host = _spread(case, sizes, _held_weights(case, sizes))
    parts = {"weights": weights, "optimizer": _optimizer(case, sizes)}
    if engine.on_host:
        host += parts["optimizer"] + gradient_bytes(case, sizes) / case.devices
        parts["optimizer"] = 0.0
    if _has_copy(case, sizes):
        parts["reference"], more = _spread(case, sizes, weight_bytes(case, sizes))
        parts["reference"] += sizes.rest * case.bytes_each if engine.holds_root else 0  # no backward releases it
        host += more
    if engine.buckets:
        parts["buffers"] = float(engine.buckets * BUCKET_NUMBERS[case.on_gpu] * _FLOAT)
    return parts, host


def _has_copy(case: PlanCase, sizes: Sizes) -> bool:
    """A reference beside the policy: with adapters it is the policy without them."""
    return case.kl and case.kind == "rl" and not sizes.adapters


def _optimizer(case: PlanCase, sizes: Sizes) -> float:
    """A device's two moments of each weight, and its float32 copy where there is one."""
    engine = find_engine(case.engine)
    learned, each = _learned_bytes(case, sizes)
    moments = 2 * (_FLOAT if engine.masters or engine.float_weights else each)
    return learned * (moments + (_FLOAT if engine.masters else 0)) * _share(case, engine.shards_optimizer)


def loading_bytes(case: PlanCase, sizes: Sizes) -> float:
    """Each process reads whole models; fsdp2 widens the policy before it is spread."""
    copy = weight_bytes(case, sizes) if _has_copy(case, sizes) else 0.0
    return _held_weights(case, sizes) + copy


def held_gradients(case: PlanCase, sizes: Sizes) -> float:
    """Gradients on a device once a pass is done, with the copies that their exchange has."""
    engine = find_engine(case.engine)
    if engine.on_host:
        return 0.0
    held = gradient_bytes(case, sizes) * _share(case, engine.shards_gradients)
    return held * (1 + engine.whole_gradients)


def update_bytes(case: PlanCase, sizes: Sizes) -> float:
    """AdamW on a GPU works on all weights at once and holds a root of second moments; on a CPU, on one at a time.

    ZeRO has one flat weight, with a flat copy of its gradients; stage 3 goes through it by `update_numbers`.
    """
    engine = find_engine(case.engine)
    if engine.on_host:
        return 0.0
    learned, each = _learned_bytes(case, sizes)
    share = learned * _share(case, engine.shards_optimizer)
    if engine.masters:
        together = min(share, engine.update_numbers or share)
        copies = (2 if engine.update_numbers else 1) if case.on_gpu else 3
        return together * _FLOAT * copies
    each = _FLOAT if engine.float_weights else each
    one = 0 if sizes.adapters else sizes.one * _share(case, engine.shards_weights)
    return share * each if case.on_gpu else 2.0 * one * each


def gathered_weights(case: PlanCase, sizes: Sizes) -> dict[str, float]:
    """Weights that an engine gathers: the layer at work, the next one, and what it keeps for its backward pass."""
    engine = find_engine(case.engine)
    if not engine.shards_weights:
        return {}
    numbers = sizes.rest + 2 * sizes.layer if engine.holds_root else engine.holds_ahead + sizes.largest
    return {"gathered": min(float(numbers * case.bytes_each), weight_bytes(case, sizes))}


def early_gradients(case: PlanCase, sizes: Sizes) -> float:
    """What is taken for a pass' gradients when the first of them is there."""
    engine = find_engine(case.engine)
    learned, each = _learned_bytes(case, sizes)
    return learned * each * _share(case, engine.shards_gradients) if engine.early_gradients else 0.0


def exchanged_gradients(case: PlanCase, sizes: Sizes) -> float:
    """Whole gradients of embeddings and head, which come last, on their way to the other processes."""
    engine = find_engine(case.engine)
    if sizes.adapters or not engine.float_gradients:
        return 0.0
    if engine.holds_root:
        return float(sizes.rest * (case.bytes_each + _FLOAT))
    return float(sizes.one * (case.bytes_each + engine.float_exchange * _FLOAT))
