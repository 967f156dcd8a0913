"""What tests of ZeRO start in processes of their own: a few updates of a tiny model on fixed batches.

A run is told by JSON on the command line; every process does the same but for its part of the global batch. Where there
is no layout, one plain process does the updates with torch alone.
"""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from torch import Tensor

from o3v.models.entry import through
from o3v.models.logprobs import dense_scores
from o3v.models.lora import LoraSettings, add_adapter
from o3v.models.policy import Policy
from tests import tiny

MAX_NORM = 1.0
GLOBAL_BATCH, PARTS = 4, 2


def make_policy(run: dict[str, Any]) -> Policy:
    """A tiny model as the run wants it."""
    policy = tiny.random_policy(run.get("family", "qwen2_5_vl"))
    if run.get("tied"):
        policy.model.lm_head.weight = policy.model.get_input_embeddings().weight
    if run.get("lora"):
        add_adapter(policy, LoraSettings(2, 4, ("q_proj", "v_proj", "down_proj")))
    if run.get("checkpointing"):
        policy.model.gradient_checkpointing_enable({"use_reentrant": False})
    if run.get("dtype") == "bfloat16":
        policy.model.to(torch.bfloat16)
    return policy


def batch_loss(policy: Policy, step: int, rows: list[int]) -> Tensor:
    """Mean negative log-probability of some rows of a step's global batch."""
    prompts = [tiny.clip_prompt(policy, 2 + (row + step) % 2, 10 * step + row) for row in rows]
    encoded = policy.encode(prompts)
    ids, mask = policy.encode_targets([prompt.target or "" for prompt in prompts])
    logprobs = through(policy, encoded, lambda: dense_scores(policy, encoded, ids, mask)).logprobs
    return -(logprobs.sum(1) / mask.sum(1)).mean()


def optimizer_of(model: torch.nn.Module) -> torch.optim.Optimizer:
    """AdamW in two groups, as `Optimization.build`.

    With an eps that is not far below gradients: else the sign of a gradient of rounding errors is what a weight moves by.
    """
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    groups = [[w for w in trained if w.ndim > 1], [w for w in trained if w.ndim <= 1]]
    return torch.optim.AdamW([{"params": group} for group in groups if group], lr=1e-3, weight_decay=0.01, eps=1e-4)


class Module(LightningModule):
    """A step is one update, of `PARTS` backward passes."""

    def __init__(self, policy: Policy, run: dict[str, Any]) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model = policy.model
        self.policy, self.run_ = policy, run
        self.done = 0
        self.norms: list[float] = []
        self.losses: list[float] = []

    def training_step(self, batch: Any, _: int) -> None:
        self.model.train()
        strategy: Any = self.trainer.strategy
        if self.run_.get("rollout"):
            rollout(self, strategy)
        for part in range(PARTS):
            loss = batch_loss(self.policy, self.done, self._rows(part))
            norm = strategy.apply_loss(loss / PARTS, part == PARTS - 1)
            self.losses.append(float(loss))
        self.norms.append(norm)
        self.done += 1
        if self.run_.get("save_at") == self.done:
            self.trainer.save_checkpoint(self.run_["state"])

    def _rows(self, part: int) -> list[int]:
        """Consecutive rows of the global batch: first by process, then by part."""
        share = GLOBAL_BATCH // self.trainer.world_size
        rows = range(self.trainer.global_rank * share, (self.trainer.global_rank + 1) * share)
        return list(rows)[part * share // PARTS : (part + 1) * share // PARTS]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return optimizer_of(self.model)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["done"] = self.done

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.done = checkpoint["done"]


def rollout(module: Module, strategy: Any) -> None:
    """Overwritten by tests of what is gathered."""
    with strategy.gathered():
        nullcontext()


def train(run: dict[str, Any]) -> None:
    """Updates with ZeRO, and what the tests compare into `out`."""
    from o3v.training.zero import zero_strategy

    policy = make_policy(run)
    stage, offload = {"zero2": (2, False), "zero3": (3, False), "zero3_offload": (3, True)}[run["layout"]]
    dtype = run.get("dtype", "float32")
    strategy = zero_strategy(stage, offload, run.get("max_norm", MAX_NORM), dtype, "cpu", keep_whole=run.get("keep", 0))
    module = Module(policy, run)
    trainer = Trainer(
        accelerator="cpu",
        devices=run["processes"],
        strategy=strategy,
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        use_distributed_sampler=False,
    )
    batches = range(run.get("from", 0), run["steps"])
    trainer.fit(module, list(batches), ckpt_path=run.get("load"))
    state = strategy.whole_state()
    if trainer.is_global_zero:
        torch.save({"state": state, "norms": module.norms, "losses": module.losses}, run["out"])
    else:
        assert state is None


def train_plain(run: dict[str, Any]) -> None:
    """The same updates by torch alone, on the whole global batch."""
    policy = make_policy(run)
    policy.model.train()
    optimizer = optimizer_of(policy.model)
    weights = [weight for weight in policy.model.parameters() if weight.requires_grad]
    norms: list[float] = []
    for step in range(run["steps"]):
        batch_loss(policy, step, list(range(GLOBAL_BATCH))).backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(weights, run.get("max_norm", MAX_NORM))))
        optimizer.step()
        optimizer.zero_grad()
    torch.save({"state": policy.model.state_dict(), "norms": norms}, run["out"])


if __name__ == "__main__":
    told = json.loads(Path(sys.argv[1]).read_text())
    (train if "layout" in told else train_plain)(told)
