"""Whole weights of a model that ZeRO-3 has spread over processes: for a rollout, and for export."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


@contextmanager
def gather_all(optimizer: Any) -> Iterator[None]:
    """Gather every weight once, without DeepSpeed's module hooks inside; spread them again afterwards.

    Args:
        optimizer: DeepSpeed's of stage 3, or what stands in its place for a frozen model.
    """
    import deepspeed

    offload = getattr(optimizer, "parameter_offload", optimizer)
    offload.partition_all_parameters()  # what was fetched ahead too; the same start in all processes
    weights = list(offload.module.parameters())
    try:
        with deepspeed.zero.GatheredParameters(weights), _without_hooks(offload):
            yield
    finally:
        if offload.persistent_parameters:
            offload.persistent_parameters[0].all_gather(offload.persistent_parameters)


@contextmanager
def _without_hooks(offload: Any) -> Iterator[None]:
    """DeepSpeed's hooks taken out of the modules, and put back in their places, with the same traces."""
    handles = [offload.fwd_pre_hook, *offload.forward_hooks, *offload.backward_hooks]
    tables = {id(table): table for table in (handle.hooks_dict_ref() for handle in handles) if table is not None}
    before = {key: dict(table) for key, table in tables.items()}
    for handle in handles:
        table = handle.hooks_dict_ref()
        if table is not None:
            table.pop(handle.id, None)
    try:
        yield
    finally:
        for key, table in tables.items():
            added = {number: hook for number, hook in table.items() if number not in before[key]}
            table.clear()
            table.update(before[key] | added)


def whole_weights(model: nn.Module, here: bool) -> dict[str, Tensor] | None:
    """A model's state dictionary on the host, gathered weight by weight; all processes must call it.

    Args:
        model: spread or not.
        here: whether this process keeps it; None is returned elsewhere.
    """
    found: dict[str, Tensor] = {}
    for name, value in model.state_dict(keep_vars=True).items():
        with _gathered(value):
            if here:
                found[name] = value.detach().to("cpu", copy=True)
    return found if here else None


@contextmanager
def _gathered(value: Tensor) -> Iterator[None]:
    import deepspeed

    status = getattr(value, "ds_status", None)
    is_spread = status is not None and status.name == "NOT_AVAILABLE"
    with deepspeed.zero.GatheredParameters([value], enabled=is_spread):
        yield
