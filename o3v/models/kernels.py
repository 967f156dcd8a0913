"""The attention of a training pass, by name (`trainer.attention_kernel`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from o3v.errors import ConfigError
from o3v.models.flex import FlexPass
from o3v.models.passes import CompletionPass, Layers, PackedPass, Pass
from o3v.models.ragged import Ragged

Lengths = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Kernel:
    """How prompts and completions attend in a training pass.

    Attributes:
        packed: (tokens of each prompt, of each prompt's completions, `Pass.keep`) -> pass over all in one row.
        later: (keys and values of prompts that were read, tokens of their completions) -> pass over completions.
        devices: where it has a backward pass; empty for everywhere.
    """

    packed: Callable[[tuple[int, ...], Lengths, Tensor], Pass]
    later: Callable[[Layers, Layers, Lengths], Pass]
    devices: tuple[str, ...]


def _packed(prompts: tuple[int, ...], completions: Lengths, keep: Tensor) -> Pass:
    return PackedPass(prompts, *_rows(completions, keep.device), keep)


def _later(keys: Layers, values: Layers, completions: Lengths) -> Pass:
    return CompletionPass(keys, values, *_rows(completions, keys[0][0].device))


def _rows(completions: Lengths, device: torch.device) -> tuple[tuple[Ragged, ...], tuple[int, ...]]:
    return tuple(Ragged.of(rows, device) for rows in completions), tuple(sum(rows) for rows in completions)


KERNELS: Final = {
    "split": Kernel(_packed, _later, ()),
    "flex": Kernel(FlexPass.packed, FlexPass.later, ("cuda",)),
}
"""split: prompt part and own part by fused kernels, merged (`o3v.models.group_attention`); flex: one FlexAttention."""


def check_kernel(name: str, device: str) -> None:
    """Can this kernel train on this kind of device?

    Raises:
        ConfigError: it cannot; names those that can.
    """
    if name in KERNELS and device in (KERNELS[name].devices or (device,)):
        return
    able = [other for other, kernel in KERNELS.items() if device in (kernel.devices or (device,))]
    reason = f"has no backward pass on device {device!r}" if name in KERNELS else "is unknown"
    raise ConfigError(f"trainer.attention_kernel={name!r} {reason}; allowed there: {able}")
