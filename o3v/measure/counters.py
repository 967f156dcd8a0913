"""What a step did, counted: the same numbers on every run and every machine, so a test can hold them.

Operations are counted as torch's FlopCounterMode sees them, apart by kind: products with weights (mm, addmm,
convolution), and attention (batched products and fused attention). What FlopCounterMode leaves out is added here: the
CPU's fused attention, with the pairs that its mask allows, and products that are added in place. `o3v.measure.floor`
states the floor in the same two kinds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from o3v.measure.clock import Instrument, Reading

_PRODUCTS = ("mm", "addmm", "addmm_", "convolution", "convolution_backward", "mkldnn._linear_pointwise")
_aten = torch.ops.aten


def counter(model: Any) -> Instrument:
    """Instrument of the counts of a Qwen-VL model.

    Readings: `products` and `attention` (operations), `vision_calls`, `vision_patches` (through the vision tower) and
    `tokens` (through the language model's layers). A model that is wrapped or copied later is seen by the operations
    only.
    """

    @contextmanager
    def counting() -> Iterator[Callable[[], Reading]]:
        seen = {"vision_calls": 0.0, "vision_patches": 0.0, "tokens": 0.0}
        visual, mlp = model.model.visual, model.model.language_model.layers[0].mlp
        hooks = [
            visual.register_forward_pre_hook(lambda _, args, named: _saw_patches(seen, args, named), with_kwargs=True),
            mlp.register_forward_pre_hook(lambda _, args: _saw_tokens(seen, args)),
        ]
        operations = FlopCounterMode(display=False, custom_mapping=_MISSED)
        try:
            with operations:
                yield lambda: seen | _by_kind(operations)
        finally:
            for hook in hooks:
                hook.remove()

    return counting


def _saw_patches(seen: Reading, args: tuple[Any, ...], named: dict[str, Any]) -> None:
    patches = args[0] if args else named["hidden_states"]
    seen["vision_calls"] += 1
    seen["vision_patches"] += len(patches)


def _saw_tokens(seen: Reading, args: tuple[Any, ...]) -> None:
    seen["tokens"] += args[0].numel() / args[0].shape[-1]


def _by_kind(operations: FlopCounterMode) -> Reading:
    counts = {"products": 0.0, "attention": 0.0}
    for operation, number in operations.get_flop_counts().get("Global", {}).items():
        name = str(operation).removeprefix("aten.")
        counts["products" if name in _PRODUCTS else "attention"] += number
    return counts


def _by_rows(left: Any, right: Any, *_: Any, **__: Any) -> int:
    """[..., K] by [N, K]; arguments are shapes."""
    return 2 * math.prod(left) * right[0]


def _added(total: Any, left: Any, right: Any, **_: Any) -> int:
    """[..., M, K] by [..., K, N], added in place; arguments are shapes."""
    return 2 * math.prod(left) * right[-1]


def _fused_forward(query: Any, key: Any, value: Any, dropout: float = 0.0, is_causal: bool = False, **_: Any) -> int:
    return 2 * _pairs(query, key, is_causal) * (query[-1] + value[-1])


def _fused_backward(
    gradient: Any, query: Any, key: Any, value: Any, out: Any, lse: Any, dropout: float, is_causal: bool, **_: Any
) -> int:
    """Twice the forward: the kernel's recomputed scores are not necessary work and are not counted."""
    return 2 * _fused_forward(query, key, value, dropout, is_causal)


def _pairs(query: Any, key: Any, is_causal: bool) -> int:
    batch, heads, queries = query[:3]
    keys = key[2]
    return batch * heads * (queries * (queries + 1) // 2 if is_causal else queries * keys)


_MISSED: dict[Any, Any] = {
    torch.ops.mkldnn._linear_pointwise: _by_rows,
    _aten.addmm_: _added,
    _aten.baddbmm_: _added,
    _aten._scaled_dot_product_flash_attention_for_cpu: _fused_forward,
    _aten._scaled_dot_product_flash_attention_for_cpu_backward: _fused_backward,
}
