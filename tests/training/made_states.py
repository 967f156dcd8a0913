"""What tests of the export start in a process of its own: sharded states of a tiny model, as the engines write them.

`python -m tests.training.made_states JOBS.json` reads a list of jobs with `kind` ("distributed", "deepspeed2" or
"deepspeed3"), `family`, `lora` and `out`. Each trains two steps, saves its state in `out` and the model's weights as
they then are in `out`.safetensors.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.strategies import DeepSpeedStrategy, ModelParallelStrategy
from safetensors.torch import save_file
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from o3v.models.lora import LoraSettings, add_adapter
from tests import tiny

LORA = LoraSettings(rank=4, alpha=8, target_modules=("q_proj", "down_proj"))
SCALE = 1.5


class Module(LightningModule):
    """Moves every weight that learns."""

    def __init__(self, job: dict[str, Any]) -> None:
        super().__init__()
        self.automatic_optimization = False
        policy = tiny.random_policy(job["family"], SCALE)
        if job["lora"]:
            add_adapter(policy, LORA)
        self.model, self.kind = policy.model, job["kind"]
        self.inputs = policy.encode([tiny.clip_prompt(policy)]).inputs()

    def configure_model(self) -> None:
        if self.kind == "distributed":
            mesh = self.device_mesh["data_parallel"]
            for layer in self.model.model.language_model.layers:
                fully_shard(layer, mesh=mesh)
            fully_shard(self.model, mesh=mesh)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW([weight for weight in self.parameters() if weight.requires_grad], lr=1e-2)

    def training_step(self, batch: Any, _: int) -> None:
        logprobs = self.model(**self.inputs, use_cache=False).logits.float().log_softmax(-1)
        self.manual_backward(-logprobs[..., 7].mean())
        optimizer: Any = self.optimizers()
        optimizer.step()
        optimizer.zero_grad()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["o3v"] = {"batches_done": 2, "total_batches": 2}


class OnCpu(DeepSpeedStrategy):
    """Lightning's own strategy where there is no GPU."""

    def setup_environment(self) -> None:
        super(DeepSpeedStrategy, self).setup_environment()

    def setup_distributed(self) -> None:
        self.set_world_ranks()
        self._init_deepspeed_distributed()

    def _setup_model_and_optimizer(self, model: Any, optimizer: Any, lr_scheduler: Any = None) -> tuple[Any, Any]:
        import deepspeed

        engine, wrapped, _, _ = deepspeed.initialize(
            args=argparse.Namespace(device_rank=self.local_rank),
            config=self.config,
            model=model,
            model_parameters=[weight for weight in model.parameters() if weight.requires_grad],
            optimizer=optimizer,
            dist_init_required=False,
        )
        return engine, wrapped


def strategy_of(kind: str) -> Any:
    if kind == "distributed":
        return ModelParallelStrategy(1, 1, process_group_backend="gloo")
    import deepspeed

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    return OnCpu(stage=int(kind[-1]), process_group_backend="gloo")


def whole(module: Module) -> dict[str, torch.Tensor]:
    """The model's weights, put together."""
    if module.kind == "deepspeed3":
        import deepspeed

        with deepspeed.zero.GatheredParameters(list(module.model.parameters())):
            return {name: value.detach().clone() for name, value in module.model.state_dict().items()}
    state = module.model.state_dict().items()
    return {n: (v.full_tensor() if isinstance(v, DTensor) else v).detach().clone() for n, v in state}


def make(job: dict[str, Any]) -> None:
    module = Module(job)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        strategy=strategy_of(job["kind"]),
        max_steps=2,
        enable_model_summary=False,
        **quiet,
    )
    trainer.fit(module, [0, 1])
    trainer.save_checkpoint(job["out"])
    save_file(whole(module), f"{job['out']}.safetensors")


if __name__ == "__main__":
    for told in json.loads(Path(sys.argv[1]).read_text()):
        make(told)
