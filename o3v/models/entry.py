"""The one door through which a training step runs a model whose weights may be spread over processes.

FSDP2 and ZeRO-3 gather a module's weights by hooks around its forward. What this project computes (a row of several
prompts, a head at chosen positions) is not the library's own forward, so it runs inside of it.

Gathering is a collective: every process must make the same calls in the same order, or all wait for ever. A prompt
without pictures would leave out the vision tower that another process' prompt runs; blank passes stand in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from o3v.models.policy import Encoded, Policy

T = TypeVar("T")


def through(policy: Policy, prompts: Encoded | None, function: Callable[[], T], carrier: str = "logprobs") -> T:
    """Compute `function()` inside the model's forward, between the hooks that gather and release weights.

    Args:
        policy: the model.
        prompts: whose pass this is; blank passes of the vision tower come before it where fewer media than agreed are
            in it. Their gradient is zero for every weight.
        function: calls whatever parts of the model it wants; gives a frozen dataclass, whose tensors the hooks see.
        carrier: a field of it, to which the blank passes' zero is added.

    Returns:
        What `function` gave.
    """
    found: list[Any] = []

    def forward() -> dict[str, Any]:
        count = 0 if prompts is None else prompts.blank_passes
        blank = [blank_vision(policy) for _ in range(count)]
        found.append(function())
        outputs = dict(vars(found[0]))
        for zero in blank:
            outputs[carrier] = outputs[carrier] + zero.to(outputs[carrier].dtype)
        return outputs

    with exchanged(policy.model, forward):
        outputs = policy.model()
    result: T = replace(found[0], **outputs)
    return result


def blank_vision(policy: Policy) -> Tensor:
    """Zero, from a pass of the vision tower over the smallest picture there is; differentiable in all its weights."""
    vision = policy.model.config.vision_config
    merge = vision.spatial_merge_size
    values = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
    pixels = torch.zeros(merge**2, values, device=policy.device)
    grid = torch.tensor([[1, merge, merge]], device=policy.device)
    tower = policy.model.model.visual
    output = tower(pixels.to(tower.dtype), grid_thw=grid)
    total = torch.stack([tensor.float().sum() for tensor in _tensors(output)]).sum()
    return total * 0.0


def blank_prompt(policy: Policy) -> Encoded:
    """A prompt of two tokens without pictures, for passes that a process makes only because others make them."""
    vision = policy.model.config.vision_config
    values = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
    ids = torch.tensor([[policy.eos_id, policy.eos_id]], device=policy.device)
    pixels = torch.zeros(0, values, device=policy.device)
    grid = torch.zeros(0, 3, dtype=torch.long, device=policy.device)
    times = torch.zeros(0, device=policy.device)
    return Encoded(ids, torch.ones_like(ids), torch.zeros_like(ids), pixels, grid, (0,), pixels, grid, times, (0,))


@contextmanager
def exchanged(model: Any, forward: Callable[[], dict[str, Any]]) -> Iterator[None]:
    """The model's forward is another for the time of the block; hooks stay, as they are around it."""
    model.forward = forward
    try:
        yield
    finally:
        del model.forward


def _tensors(output: Any) -> list[Tensor]:
    """Every tensor of numbers in a module's output."""
    if isinstance(output, Tensor):
        return [output] if output.is_floating_point() else []
    if is_dataclass(output):
        return [found for entry in fields(output) for found in _tensors(getattr(output, entry.name, None))]
    if isinstance(output, tuple | list):
        return [found for part in output for found in _tensors(part)]
    return []
