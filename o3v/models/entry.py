"""The one door through which a training step runs a model whose weights may be spread over processes.

FSDP2 and ZeRO-3 gather a module's weights by hooks around its forward. What this project computes (a row of several
prompts, a head at chosen positions) is not the library's own forward, so it runs inside of it.

Gathering is a collective: every process must make the same calls in the same order, or all wait for ever. A prompt
without pictures would leave out the vision tower that another process' prompt runs; blank passes stand in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from o3v.models.policy import Encoded, Policy

T = TypeVar("T")


def through(policy: Policy, prompts: Encoded | None, function: Callable[[], T]) -> T:
    """Compute `function()` inside the model's forward, between the hooks that gather and release weights.

    Args:
        policy: the model.
        prompts: whose pass this is; where fewer media than agreed are in it, the vision tower sees blank pictures too,
            between the embedding and the first layer, as it would see others. Their gradient is zero everywhere.
        function: calls whatever parts of the model it wants; gives a frozen dataclass, whose tensors the hooks see.

    Returns:
        What `function` gave.
    """
    found: list[Any] = []

    def forward() -> dict[str, Any]:
        with _blank_passes(policy, 0 if prompts is None else prompts.blank_passes):
            found.append(function())
        return dict(vars(found[0]))

    with exchanged(policy.model, forward):
        outputs = policy.model()
    result: T = replace(found[0], **outputs)
    return result


@contextmanager
def _blank_passes(policy: Policy, count: int) -> Iterator[None]:
    """The next embedding of tokens is followed by so many blank passes, whose zero is added to it."""
    if not count:
        yield
        return

    def add(module: Any, arguments: Any, embedded: Tensor) -> Tensor:
        handle.remove()
        zeros = [blank_vision(policy) for _ in range(count)]
        return embedded + torch.stack(zeros).sum().to(embedded.dtype)

    handle = policy.model.get_input_embeddings().register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()


def blank_vision(policy: Policy) -> Tensor:
    """Zero, from a pass of the vision tower over the smallest picture there is; differentiable in all its weights."""
    vision = policy.model.config.vision_config
    merge = vision.spatial_merge_size
    values = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
    pixels = torch.zeros(merge**2, values, device=policy.device)
    grid = torch.tensor([[1, merge, merge]], device=policy.device)
    tower = policy.model.model.visual
    output = tower(pixels.to(tower.dtype), grid_thw=grid, return_dict=True)
    used = [output.pooler_output, *(getattr(output, "deepstack_features", None) or ())]  # as of a true picture
    return torch.stack([features.float().sum() for features in used]).sum() * 0.0


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
