"""Weights in 4 bits as bitsandbytes writes them into a state dictionary, back as whole ones, without a GPU.

A weight of n numbers lies in n / 2 bytes, the first number in the high half of a byte; each half is a place in a table
of 16 values, scaled by the largest magnitude of its block (QLoRA, arXiv:2305.14314, section 3). With double
quantisation those magnitudes are bytes themselves: places in a table of 256 values, scaled by block, plus an offset.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from o3v.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

_PACKED: Final = ".quant_state.bitsandbytes__"
_PARTS: Final = ("absmax", "quant_map", "nested_absmax", "nested_quant_map")


def whole_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dictionary without quantised weights: each in the number type that it had before.

    Raises:
        DataError: a quantised weight without its table or its scales.
    """
    quantised = {name.partition(_PACKED)[0]: name for name in state if _PACKED in name}
    further = {f"{name}.{part}" for name in quantised for part in _PARTS} | set(quantised.values())
    plain = {name: value for name, value in state.items() if name not in further}
    for name, packed in quantised.items():
        try:
            plain[name] = _whole(state, name, json.loads(bytes(state[packed].tolist())))
        except (KeyError, ValueError) as error:
            raise DataError(f"{name}: its 4 bits cannot be read ({error})") from error
    return plain


def _whole(state: Mapping[str, Tensor], name: str, about: Mapping[str, Any]) -> Tensor:
    """One weight.

    Args:
        state: with "NAME" [n / 2, 1] bytes, "NAME.absmax" and "NAME.quant_map".
        name: of the weight.
        about: `shape`, `dtype`, `blocksize`, and where scales are quantised `nested_blocksize` and `nested_offset`.
    """
    import torch

    scales = state[f"{name}.absmax"]
    if "nested_offset" in about:
        table, nested = state[f"{name}.nested_quant_map"], state[f"{name}.nested_absmax"]
        scales = _scaled(table[scales.long()], nested, about["nested_blocksize"]) + about["nested_offset"]
    halves = state[name].view(torch.uint8).flatten().long()
    places = torch.stack([halves >> 4, halves & 15], dim=-1).flatten()
    numbers = _scaled(state[f"{name}.quant_map"].float()[places], scales.float(), about["blocksize"])
    shape = torch.Size(about["shape"])
    return numbers[: shape.numel()].view(shape).to(getattr(torch, about["dtype"]))


def _scaled(values: Tensor, scales: Tensor, block: int) -> Tensor:
    """[n] values times the scale of their block of so many."""
    return values * scales.repeat_interleave(block)[: len(values)]
