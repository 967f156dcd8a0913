"""What a training step needs, in one frozen bundle, and how completions are scored."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor

from o3v.errors import ConfigError
from o3v.models.entry import blank_prompt, through
from o3v.models.head import TokenScores
from o3v.models.kernels import KERNELS, check_kernel
from o3v.models.logprobs import dense_scores, kept_scores, mask_scores, packed_scores
from o3v.models.lora import adapter_off
from o3v.models.policy import Encoded, Policy
from o3v.models.prefix import Prefix
from o3v.rollout.engines import RolloutEngine
from o3v.rollout.sampler import Sampling
from o3v.sections import in_section

Update = Callable[[Tensor, bool], float]
"""(loss, is the last part of this update) -> gradient norm when the optimizer stepped, else nan."""

WAYS: Final = {"kept": packed_scores, "split": packed_scores, "mask": mask_scores, "dense": dense_scores}
"""Ways of `trainer.prompt_pass`; "kept" is "split" wherever there is no prompt whose graph was kept."""

OLD_LOGPROBS: Final = ("rollout", "recompute")


@dataclass(frozen=True)
class PassSettings:
    """How prompts and completions go through the model in a training step (conf/trainer).

    Attributes:
        way: a key of `WAYS`.
        attention_kernel: of "kept" and "split", a key of `o3v.models.kernels.KERNELS`.
        prompts_per_pass: prompts that go through together; the gradients of several passes add up. None: all of an
            update's.
        old_logprobs: "rollout" takes those under which completions were drawn; "recompute" computes them again by the
            training pass before the first update, for weights in bf16, where two kernels differ by more than GSPO's
            clip range.
    """

    way: str
    attention_kernel: str
    prompts_per_pass: int | None
    old_logprobs: str

    def __post_init__(self) -> None:
        if self.way not in WAYS:
            raise ConfigError(f"trainer.prompt_pass={self.way!r} must be one of {sorted(WAYS)}")
        if self.attention_kernel not in KERNELS:
            raise ConfigError(f"trainer.attention_kernel={self.attention_kernel!r} must be one of {sorted(KERNELS)}")
        if self.prompts_per_pass is not None and self.prompts_per_pass < 1:
            raise ConfigError(f"trainer.prompts_per_pass={self.prompts_per_pass} must be at least 1, or null")
        if self.old_logprobs not in OLD_LOGPROBS:
            raise ConfigError(f"trainer.old_logprobs={self.old_logprobs!r} must be one of {OLD_LOGPROBS}")

    def chunks(self, items: list[int]) -> list[list[int]]:
        """Numbers of prompts, cut into what goes through together.

        >>> PassSettings("kept", "split", 2, "rollout").chunks([0, 1, 4])
        [[0, 1], [4]]
        """
        size = self.prompts_per_pass or max(1, len(items))
        return [items[i : i + size] for i in range(0, len(items), size)]


@dataclass(frozen=True)
class Learner:
    """The parts of training that do not change during a run.

    Attributes:
        policy: the model that learns.
        reference: frozen model for the KL term, the policy itself where that is it without its adapter, None without a
            KL term.
        objective: SFT or policy objective.
        rewards: reward mix, None for objectives without a rollout.
        sampling: how completions are drawn, None for objectives without a rollout.
        seed: of the run.
        passes: how prompts and completions go through the model.
        engine: draws the completions outside of training; None: the policy draws them itself.
    """

    policy: Policy
    reference: Policy | None
    objective: Any
    rewards: Any
    sampling: Sampling | None
    seed: int
    passes: PassSettings
    engine: RolloutEngine | None = None

    @property
    def temperature(self) -> float:
        """Of the scored distribution: that of the draw."""
        return self.sampling.scored_temperature if self.sampling else 1.0

    def updates(self, prompts: int) -> int:
        """Optimizer steps on a rollout of so many prompts."""
        return self.objective.updates_per_rollout * min(self.objective.minibatches, prompts)

    def keeps_graph(self, prompts: int) -> bool:
        """Whether the prompts' graph is kept from rollout to training: the weights must be the same in both."""
        return self.passes.way == "kept" and self.updates(prompts) == 1

    @in_section("forward")
    def scores(self, prompts: Encoded, ids: Tensor, mask: Tensor) -> TokenScores:
        """Scores [B*G, L] of completions, G consecutive rows a prompt."""
        return self._scores(self.policy, prompts, ids, mask)

    @in_section("forward")
    def kept_scores(self, prefix: Prefix, ids: Tensor, mask: Tensor) -> TokenScores:
        """As `scores`, from prompts whose graph was kept."""
        arguments = (prefix, ids, mask, self.temperature, self.passes.attention_kernel)
        return through(self.policy, None, lambda: kept_scores(self.policy, *arguments))

    def blank_loss(self, vision_passes: int) -> Tensor:
        """Zero, from all passes of one part of an update, for a process that has fewer parts than others."""
        prompts, ids, mask = self.blank(vision_passes)
        self.ref_logprobs(prompts, ids, mask)
        return self.scores(prompts, ids, mask).logprobs.sum() * 0.0

    def blank_scores(self, vision_passes: int) -> TokenScores:
        """Scores that nobody reads, from a pass that other processes make too."""
        return self.scores(*self.blank(vision_passes))

    def blank(self, vision_passes: int) -> tuple[Encoded, Tensor, Tensor]:
        """A prompt without pictures, a completion of it and its mask, for passes that other processes make too."""
        prompts = replace(blank_prompt(self.policy), agreed_passes=vision_passes)
        return prompts, prompts.input_ids, torch.ones_like(prompts.input_ids, dtype=torch.bool)

    def check_device(self, device: str) -> None:
        """Can what is configured run on this kind of device? Looked at before training starts.

        Raises:
            ConfigError: names the key, its value and what is allowed there.
        """
        if WAYS[self.passes.way] is packed_scores:
            check_kernel(self.passes.attention_kernel, device)
        if self.sampling is not None:
            self.sampling.decoder_on(device)

    @in_section("reference")
    @torch.no_grad()
    def ref_logprobs(self, prompts: Encoded, ids: Tensor, mask: Tensor) -> Tensor | None:
        """Log-probabilities [B*G, L] under the frozen reference; None without one."""
        if self.reference is None:
            return None
        with adapter_off(self.policy) if self.reference is self.policy else nullcontext():
            return self._scores(self.reference, prompts, ids, mask).logprobs

    def _scores(self, policy: Policy, prompts: Encoded, ids: Tensor, mask: Tensor) -> TokenScores:
        way, arguments = WAYS[self.passes.way], (policy, prompts, ids, mask, self.temperature)
        if way is packed_scores:
            return through(policy, prompts, lambda: packed_scores(*arguments, self.passes.attention_kernel))
        return through(policy, prompts, lambda: way(*arguments))

    @in_section("forward")
    def target_scores(self, score: Callable[[Policy], TokenScores], prompts: Encoded) -> TokenScores:
        """Scores under teacher forcing, by a pass of its own that SFT chooses."""
        return through(self.policy, prompts, lambda: score(self.policy))
