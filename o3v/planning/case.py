"""One step that is planned: model, layout, batch, and the largest sample that it meets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from o3v.models.load import ModelSpec
from o3v.planning.engines import find_engine

BYTES: Final = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Number type -> bytes of a number."""


@dataclass(frozen=True)
class Lengths:
    """The largest sample that a step meets.

    Attributes:
        prompt: P, tokens of the prompt, frames included.
        completion: L, tokens of a completion (RL) or of the target (SFT).
        frames: images.
        frame_tokens: vision tokens of one.
        source: where these come from, in words.
        key_frames: images of these that are shown on top of an even spread.
    """

    prompt: int
    completion: int
    frames: int
    frame_tokens: int
    source: str
    key_frames: int = 0

    def patches(self, merge: int) -> int:
        """Vision patches of the sample."""
        return self.frames * self.frame_tokens * merge**2


@dataclass(frozen=True)
class PlanCase:
    """One planned step.

    Attributes:
        spec: the model preset.
        engine: a key of `o3v.planning.engines.ENGINES`.
        devices: over which the engine shards.
        kind: sft or rl.
        kl: the objective has a KL term, so there is a reference.
        group_size: G, 1 for SFT.
        prompts: of a device's batch.
        minibatches: optimizer steps a rollout.
        updates_per_rollout: passes over a rollout.
        prompt_pass: kept, split, mask or dense (`o3v.training.learner.PassSettings`).
        prompts_per_pass: prompts that go through together; None for all of an update's.
        lengths: of every prompt of the step.
        on_gpu: the devices are GPUs.
        keep_whole: with zero3, weights of at most so many numbers stay whole on every device.
    """

    spec: ModelSpec
    engine: str
    devices: int
    kind: str
    kl: bool
    group_size: int
    prompts: int
    minibatches: int
    updates_per_rollout: int
    prompt_pass: str
    prompts_per_pass: int | None
    lengths: Lengths
    on_gpu: bool
    keep_whole: int

    @property
    def bytes_each(self) -> int:
        """Of a weight."""
        return BYTES[self.spec.dtype]

    @property
    def update_prompts(self) -> int:
        """Prompts of one optimizer step."""
        return self.prompts if self.kind == "sft" else -(-self.prompts // min(self.minibatches, self.prompts))

    @property
    def pass_prompts(self) -> int:
        """Prompts of one pass; SFT knows no smaller one than its batch."""
        if self.kind == "sft" or self.prompts_per_pass is None:
            return self.update_prompts
        return min(self.prompts_per_pass, self.update_prompts)

    @property
    def way(self) -> str:
        """The training pass: `kept` is `split` where a rollout has several updates, or its weights are released."""
        if self.kind == "sft":
            return "dense"
        changes = self.updates_per_rollout * min(self.minibatches, self.prompts) > 1
        changes = changes or find_engine(self.engine).shards_weights
        return "split" if self.prompt_pass == "kept" and changes else self.prompt_pass

    @property
    def passes(self) -> int:
        """Training passes of one optimizer step."""
        return -(-self.update_prompts // self.pass_prompts)
