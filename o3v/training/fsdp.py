"""FSDP2: every process keeps its part of weights, gradients and optimizer, and gathers a layer when it runs it.

Parts are float32 whatever the model computes in, so that small steps are not lost; a layer is gathered in the model's
own number type. The units are the layers of the language model and the blocks of the vision tower; what is left
(embeddings, head, norms) is one unit of the whole model and stays gathered from a forward to its backward pass.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

from o3v.models.entry import exchanged
from o3v.sections import section
from o3v.training.layouts import step
from o3v.training.world import world_size

if TYPE_CHECKING:
    from lightning import LightningModule
    from torch.distributed.device_mesh import DeviceMesh

    from o3v.models.policy import Policy
    from o3v.training.learner import Learner


class Fsdp2:
    """See `o3v.training.layouts.Layout`."""

    def strategy(self, lightning: Mapping[str, Any], max_grad_norm: float, dtype: str) -> ModelParallelStrategy:
        """Parts over all processes; a state is a folder to which each of them writes its parts."""
        processes = world_size(lightning)
        return ModelParallelStrategy(data_parallel_size=processes, tensor_parallel_size=1)

    def shard(self, module: LightningModule, learner: Learner) -> None:
        """Spread policy and reference."""
        assert module.device_mesh is not None
        mesh = module.device_mesh["data_parallel"]
        shard_policy(learner.policy, mesh)
        if learner.reference is not None and learner.reference is not learner.policy:
            shard_policy(learner.reference, mesh)

    def start(self, module: LightningModule, learner: Learner) -> None:
        """The reference is where the policy is since both were spread."""

    @contextmanager
    def gathered(self, module: LightningModule) -> Iterator[None]:
        """Weights are gathered once, in the number type in which the model computes."""
        model: Any = module.model
        units = _units(model)
        with torch.no_grad(), exchanged(model, dict):
            model()  # the first unit that runs takes itself for the whole model
        for unit in units:
            unit.unshard()
        _keep(units[1:], True)
        try:
            yield
        finally:
            _keep(units[1:], False)
            for unit in units:
                unit.reshard()

    def update(self, module: LightningModule, loss: Tensor, is_last: bool, max_grad_norm: float) -> float:
        """Gradients are scattered after every part: no process ever holds all of them."""
        with section("backward"):
            module.manual_backward(loss)
        return step(module, max_grad_norm) if is_last else math.nan

    def state(self, module: LightningModule) -> Mapping[str, Tensor] | None:
        """The float32 parts, put together."""
        model: Any = module.model
        found: Any = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
        return found if module.trainer.is_global_zero else None


def shard_policy(policy: Policy, mesh: DeviceMesh) -> None:
    """Spread a model's weights over a mesh, in place; frozen ones too.

    Weights that learn become float32, one unit after the other, so that a process' host never holds all of them twice.
    Hooks of the units gather them in the model's number type from now on, so the model is only ever run by
    `o3v.models.entry.through`.
    """
    model = policy.model
    numbers = MixedPrecisionPolicy(model.dtype, torch.float32, cast_forward_inputs=False)
    for unit in (*model.model.visual.blocks, *model.model.language_model.layers, model):
        for weight in unit.parameters():
            if weight.requires_grad and weight.dtype != torch.float32:
                weight.data = weight.data.float()
        fully_shard(unit, mesh=mesh, mp_policy=numbers)


def _units(model: Any) -> list[FSDPModule]:
    """The whole model first, then its layers and blocks."""
    return [module for module in model.modules() if isinstance(module, FSDPModule)]


def _keep(units: list[FSDPModule], is_kept: bool) -> None:
    """Whether units stay gathered after their forward; the whole model's own always does, until its backward."""
    for unit in units:
        unit.set_reshard_after_forward(not is_kept, recurse=False)
