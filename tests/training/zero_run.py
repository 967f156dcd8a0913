"""What tests of ZeRO start in processes of their own: a few updates of a tiny model on fixed batches.

A run is told by JSON on the command line; every process does the same but for its part of the global batch.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from torch import Tensor

from o3v.models.entry import blank_prompt, through
from o3v.models.logprobs import dense_scores
from o3v.models.lora import LoraSettings, add_adapter
from o3v.models.policy import Policy
from o3v.training import zero_state
from tests import tiny

MAX_NORM = 1.0
GLOBAL_BATCH, PARTS = 4, 2


def make_policy(run: dict[str, Any]) -> Policy:
    """A tiny model as the run wants it."""
    policy = tiny.random_policy(run.get("family", "qwen2_5_vl"))
    if run.get("untied"):
        policy.model.lm_head.weight = torch.nn.Parameter(policy.model.lm_head.weight.detach() * 1.5)
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


def irregular_loss(policy: Policy, step: int, rows: list[int]) -> Tensor:
    """As `batch_loss`, but no step is like the one before it.

    Step 1 has two passes before one backward pass and step 2 one without a gradient before it; in step 3 every second
    row, in step 4 all of them are without pictures, so that no gradient comes to the vision tower.
    """
    if step == 1:
        return (batch_loss(policy, 1, rows) + batch_loss(policy, 10, rows)) / 2
    if step == 2:
        with torch.no_grad():
            batch_loss(policy, 2, rows)
    losses = [text_loss(policy, row) if step + row % 2 >= 4 else batch_loss(policy, step, [row]) for row in rows]
    return torch.stack(losses).mean()


def text_loss(policy: Policy, row: int) -> Tensor:
    """Of a prompt without pictures; so small that gradients of pictures, were there any left, would show."""
    ids, mask = policy.encode_targets([f"{row} red circle"])
    encoded = blank_prompt(policy)
    return -through(policy, encoded, lambda: dense_scores(policy, encoded, ids, mask)).logprobs.sum() / 20


def loss_of(run: dict[str, Any]) -> Any:
    """Which of the two a run has."""
    return irregular_loss if run.get("irregular") else batch_loss


def optimizer_of(model: torch.nn.Module) -> torch.optim.Optimizer:
    """AdamW in two groups, as `Optimization.build`.

    With an eps that is not far below gradients: else a weight moves by the sign of a gradient of rounding errors.
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
        for part in range(PARTS):
            loss = loss_of(self.run_)(self.policy, self.done, self._rows(part))
            if self.run_.get("explodes_at") == self.done and self.trainer.global_rank == 0:
                loss = loss * math.inf
            norm = strategy.apply_loss(loss / PARTS, part == PARTS - 1)
            self.losses.append(float(loss.detach()))
        self.norms.append(norm)
        self.done += 1

    def on_train_batch_end(self, *_: Any) -> None:
        if self.run_.get("full_disk") == self.trainer.global_rank:
            zero_state._write_part = full_disk
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


def full_disk(*_: Any) -> None:
    """In place of what writes."""
    raise OSError(28, "No space left on device")


def train(run: dict[str, Any], kind: type[Module] = Module) -> None:
    """Updates with ZeRO, and what the tests compare into `out`."""
    from o3v.training import zero

    if "mutant" in run:
        setattr(zero, run["mutant"], lambda *_: None)
    policy = make_policy(run)
    stage, offload = {"zero2": (2, False), "zero3": (3, False), "zero3_offload": (3, True)}[run["layout"]]
    dtype = run.get("dtype", "float32")
    strategy = zero.zero_strategy(
        stage, offload, run.get("max_norm", MAX_NORM), dtype, "cpu", keep_whole=run.get("keep", 0)
    )
    module = kind(policy, run)
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
    trainer.fit(module, list(range(run["steps"])), ckpt_path=run.get("load"), weights_only=True)
    state = strategy.whole_state()
    if trainer.is_global_zero:
        found = {"state": state, "norms": module.norms, "losses": module.losses} | getattr(module, "found", {})
        torch.save(found, run["out"])
    else:
        assert state is None


def train_plain(run: dict[str, Any]) -> dict[str, Any]:
    """The same updates by torch alone, on the whole global batch; the model's weights and gradient norms."""
    policy = make_policy(run)
    policy.model.train()
    optimizer = optimizer_of(policy.model)
    weights = [weight for weight in policy.model.parameters() if weight.requires_grad]
    norms: list[float] = []
    for step in range(run["steps"]):
        loss_of(run)(policy, step, list(range(GLOBAL_BATCH))).backward()
        for weight in weights:
            weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
        norms.append(float(torch.nn.utils.clip_grad_norm_(weights, run.get("max_norm", MAX_NORM))))
        if run.get("explodes_at") != step:
            optimizer.step()
        optimizer.zero_grad()
    return {"state": policy.model.state_dict(), "norms": norms}


if __name__ == "__main__":
    train(json.loads(Path(sys.argv[1]).read_text()))
