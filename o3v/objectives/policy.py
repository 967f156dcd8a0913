"""The clipped policy loss: GSPO and GRPO are two levels of one importance ratio."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from o3v.errors import ConfigError
from o3v.objectives.advantages import ADVANTAGE_MODES, group_advantages
from o3v.objectives.kl import k3
from o3v.objectives.masked import masked_mean, row_mean
from o3v.objectives.output import LossOutput

RATIO_LEVELS = ("sequence", "token")


def token_log_ratio(logprobs: Tensor, old_logprobs: Tensor, completion_mask: Tensor) -> Tensor:
    """Log importance ratio of each token, 0 where masked.

    log pi(y_t) - log pi_old(y_t)                                        GRPO, arXiv:2402.03300, eq. 3

    Args:
        logprobs: [N, L] under the current policy, in nats.
        old_logprobs: [N, L] under the policy that sampled; no gradient flows into it.
        completion_mask: [N, L] bool, True up to and including EOS.

    Returns:
        [N, L].

    Example:
        >>> token_log_ratio(torch.tensor([[-1.0, 9.0]]), torch.tensor([[-1.5, 0.0]]), torch.tensor([[True, False]]))
        tensor([[0.5000, 0.0000]])
    """
    return torch.where(completion_mask, logprobs - old_logprobs.detach(), torch.zeros_like(logprobs))


def sequence_log_ratio(logprobs: Tensor, old_logprobs: Tensor, completion_mask: Tensor) -> Tensor:
    """Length-normalised log importance ratio of each completion, log s_i of GSPO.

    log s_i = (1 / |y_i|) * sum_t (log pi(y_it) - log pi_old(y_it))      GSPO, arXiv:2507.18071, eq. 7

    Args:
        logprobs: [N, L] under the current policy, in nats.
        old_logprobs: [N, L] under the policy that sampled; no gradient flows into it.
        completion_mask: [N, L] bool, True up to and including EOS.

    Returns:
        [N]. 0 for a completion without tokens.

    Differs from the reference: it takes the current values, detached, for the old ones, so its ratio is always 1
    (grpo_trainer.py:691).

    Example:
        >>> lp, old = torch.tensor([[-1.0, -2.0, 9.9]]), torch.tensor([[-1.5, -1.9, 0.0]])
        >>> sequence_log_ratio(lp, old, torch.tensor([[True, True, False]])).round(decimals=3)
        tensor([0.2000])
    """
    return masked_mean(token_log_ratio(logprobs, old_logprobs, completion_mask), completion_mask)


@dataclass(frozen=True)
class PolicyObjective:
    """Clipped policy loss with a KL term.

    loss = mean over rows of the masked mean over tokens of
        -min(w A, clip(w, 1 - clip_low, 1 + clip_high) A) + kl_coef KL,
    w being the sequence's ratio (GSPO, arXiv:2507.18071, eq. 5) or the token's (GRPO, arXiv:2402.03300, eq. 3).

    Attributes:
        ratio_level: "sequence" (GSPO) or "token" (GRPO).
        clip_low, clip_high: half-widths of the clip range below and above 1 (the papers' epsilon).
        kl_coef: weight of the KL to the reference model (GRPO's beta); 0 needs no reference.
        advantage: mode of `group_advantages`.
        updates_per_rollout: passes over one rollout.
        minibatches: optimizer steps a pass; the policy moves between them, which is what the ratio measures.
    """

    ratio_level: str
    clip_low: float
    clip_high: float
    kl_coef: float
    advantage: str
    updates_per_rollout: int
    minibatches: int

    def __post_init__(self) -> None:
        if self.ratio_level not in RATIO_LEVELS:
            raise ConfigError(f"objective.ratio_level={self.ratio_level!r} must be one of {RATIO_LEVELS}")
        if self.advantage not in ADVANTAGE_MODES:
            raise ConfigError(f"objective.advantage={self.advantage!r} must be one of {ADVANTAGE_MODES}")
        if not (0.0 <= self.clip_low < 1.0 and self.clip_high >= 0.0 and self.kl_coef >= 0.0):
            raise ConfigError(
                f"objective: clip_low={self.clip_low} must be in [0, 1), clip_high={self.clip_high} and "
                f"kl_coef={self.kl_coef} at least 0"
            )
        for name in ("updates_per_rollout", "minibatches"):
            if getattr(self, name) < 1:
                raise ConfigError(f"objective.{name}={getattr(self, name)} must be at least 1")

    @property
    def needs_rollout(self) -> bool:
        """A step begins with drawing completions."""
        return True

    @property
    def needs_reference(self) -> bool:
        """Only for a KL term."""
        return self.kl_coef > 0.0

    def warnings(self, prompts: int | None = None) -> tuple[str, ...]:
        """A sentence when clipping can never act, as there is one update a rollout.

        Args:
            prompts: prompts of one process' rollout where known; it cannot be cut into more minibatches than that.

        Example:
            >>> objective = PolicyObjective("token", 0.2, 0.2, 0.0, "std", 1, 4)
            >>> objective.warnings(), len(objective.warnings(prompts=1))
            ((), 1)
        """
        parts = self.minibatches if prompts is None else min(self.minibatches, prompts)
        if self.updates_per_rollout * parts > 1:
            return ()
        return (
            f"objective: updates_per_rollout={self.updates_per_rollout} and minibatches={self.minibatches} give one "
            f"update a rollout{'' if prompts is None else f' of {prompts} prompts'}; the policy is then still the "
            "sampling policy, so the ratio is 1, clipping never acts and ratio_level makes no difference.",
        )

    def advantages(self, rewards: Tensor) -> Tensor:
        """Advantages [B, G] of total rewards [B, G]."""
        return group_advantages(rewards, self.advantage)

    def ratio(self, logprobs: Tensor, old_logprobs: Tensor, completion_mask: Tensor) -> Tensor:
        """Importance ratio: [N, 1] at the sequence level, [N, L] at the token level (1 where masked)."""
        if self.ratio_level == "sequence":
            return torch.exp(sequence_log_ratio(logprobs, old_logprobs, completion_mask)).unsqueeze(-1)
        return torch.exp(token_log_ratio(logprobs, old_logprobs, completion_mask))

    def clipped(self, ratio: Tensor) -> Tensor:
        """The ratio within its clip range."""
        return ratio.clamp(1.0 - self.clip_low, 1.0 + self.clip_high)

    def loss(
        self,
        logprobs: Tensor,
        old_logprobs: Tensor,
        ref_logprobs: Tensor | None,
        advantages: Tensor,
        completion_mask: Tensor,
    ) -> LossOutput:
        """Loss of N completions, whole groups or parts of them.

        Args:
            logprobs: [N, L] log-probabilities of the sampled tokens under the current policy, in nats.
            old_logprobs: [N, L] under the policy that sampled.
            ref_logprobs: [N, L] under the frozen reference; may be None when `kl_coef` is 0.
            advantages: [N].
            completion_mask: [N, L] bool, True up to and including EOS. What stands under False has no influence.

        Returns:
            The loss, with metrics `policy_loss`, `kl` (mean over rows, 0 without a reference), `ratio_mean`,
            `ratio_std` (its spread), and `clip_frac`, `clip_frac_low`, `clip_frac_high`: share of completions
            (sequence level) or tokens (token level) whose gradient the clip removes.

        Raises:
            ValueError: `ref_logprobs` is missing although `kl_coef` asks for it.
        """
        if ref_logprobs is None and self.needs_reference:
            raise ValueError(f"kl_coef={self.kl_coef} needs ref_logprobs")
        ratio = self.ratio(logprobs, old_logprobs, completion_mask)
        gain = advantages.detach().unsqueeze(-1)  # [N, 1]
        surrogate = torch.minimum(ratio * gain, self.clipped(ratio) * gain).expand_as(logprobs)
        policy_loss = -row_mean(surrogate, completion_mask)
        kl = self._kl(logprobs, ref_logprobs, completion_mask)
        loss = policy_loss + self.kl_coef * kl if self.needs_reference else policy_loss
        metrics = {"policy_loss": policy_loss.detach(), "kl": kl.detach()}
        return LossOutput(loss, metrics | self._ratio_metrics(ratio.detach(), gain, completion_mask))

    @staticmethod
    def _kl(logprobs: Tensor, ref_logprobs: Tensor | None, mask: Tensor) -> Tensor:
        if ref_logprobs is None:
            return logprobs.new_zeros(())
        reference = torch.where(mask, ref_logprobs, torch.zeros_like(ref_logprobs))
        return row_mean(k3(torch.where(mask, logprobs, torch.zeros_like(logprobs)), reference), mask)

    def _ratio_metrics(self, ratio: Tensor, gain: Tensor, mask: Tensor) -> dict[str, Tensor]:
        counts = mask if self.ratio_level == "token" else mask.any(-1, keepdim=True)
        low = ((ratio < 1.0 - self.clip_low) & (gain < 0))[counts].float()
        high = ((ratio > 1.0 + self.clip_high) & (gain > 0))[counts].float()
        kept = ratio[counts]
        return {
            "clip_frac": _mean(low + high),
            "clip_frac_low": _mean(low),
            "clip_frac_high": _mean(high),
            "ratio_mean": _mean(kept),
            "ratio_std": _mean((kept - _mean(kept)) ** 2).sqrt(),
        }


def _mean(values: Tensor) -> Tensor:
    return values.sum() / max(values.numel(), 1)
