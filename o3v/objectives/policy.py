"""The policy loss: GSPO, GRPO and their kin as choices of ratio, surrogate, KL, advantage and aggregation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from o3v.errors import ConfigError
from o3v.objectives.advantages import ADVANTAGE_MODES, group_advantages
from o3v.objectives.aggregation import AGGREGATIONS, UpdateSize, aggregate
from o3v.objectives.kl import KL_ESTIMATORS, kl_estimate
from o3v.objectives.output import LossOutput
from o3v.objectives.policy_warnings import policy_warnings
from o3v.objectives.ratio import RATIO_LEVELS, importance_ratio
from o3v.objectives.ratio_metrics import ratio_metrics
from o3v.objectives.shaping import OVERLONG_MODES, kept_completions, soft_overlong_penalty
from o3v.objectives.surrogate import SURROGATES, cispo_surrogate, clip_acts, clip_surrogate

CHOICES: Final = {
    "ratio_level": RATIO_LEVELS,
    "surrogate": SURROGATES,
    "kl_estimator": KL_ESTIMATORS,
    "kl_bias_correction": (False, True),
    "advantage": ADVANTAGE_MODES,
    "aggregation": AGGREGATIONS,
    "overlong": OVERLONG_MODES,
}
BOUNDS: Final = {
    "clip_low": (0.0, 1.0),
    "clip_high": (0.0, None),
    "kl_coef": (0.0, None),
    "max_length": (1, None),
    "overlong_cache": (0.0, 1.0),
    "resample_flat": (0, 15),
    "updates_per_rollout": (1, None),
    "minibatches": (1, None),
}


@dataclass(frozen=True)
class PolicyObjective:
    """Policy loss with a KL term: loss = aggregation over tokens of -surrogate(w, A) + kl_coef KL.

    From rollout to loss, with `lengths` [B, G] the tokens of each completion and `completed` [B*G] False where one
    reached the limit without EOS:

        advantages = objective.advantages(totals, values, weights, lengths)
        counted = completion_mask & objective.kept(completed).unsqueeze(-1)
        objective.loss(logprobs, old_logprobs, ref_logprobs, advantages.flatten(), counted, UpdateSize.of(counted))

    Attributes:
        ratio_level: level of w, see `importance_ratio`: "sequence" (GSPO), "sequence_token" (GSPO-token) or "token"
            (GRPO).
        surrogate: "clip" (PPO's minimum) or "cispo" (clipped weight times log-probability).
        clip_low, clip_high: half-widths of the clip range below and above 1 (the papers' epsilon); clip_low = 1 is no
            lower bound.
        kl_coef: weight of the KL to the reference model (GRPO's beta); 0 needs no reference.
        kl_estimator: "k1", "k2" or "k3", see `kl_estimate`.
        kl_bias_correction: multiply the KL by w, through which the gradient flows too.
        advantage: mode of `group_advantages`.
        aggregation: weights of completions and tokens, see `aggregate`.
        max_length: tokens to which a completion may grow, L_max of "constant" and of the penalty.
        overlong: "keep" or "filter", see `kept_completions`.
        overlong_cache: L_cache of `soft_overlong_penalty` as a share of max_length; 0 turns the penalty off.
        resample_flat: rounds in which the groups whose rewards are all equal are drawn again at most; 0 never
            (DAPO's dynamic sampling, arXiv:2503.14476, sec. 3.2, with a cap).
        updates_per_rollout: passes over one rollout.
        minibatches: optimizer steps a pass; the policy moves between them, which is what the ratio measures.
    """

    ratio_level: str
    surrogate: str
    clip_low: float
    clip_high: float
    kl_coef: float
    kl_estimator: str
    kl_bias_correction: bool
    advantage: str
    aggregation: str
    max_length: int
    overlong: str
    overlong_cache: float
    resample_flat: int
    updates_per_rollout: int
    minibatches: int

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ConfigError(f"objective.{name}={getattr(self, name)!r} must be one of {allowed}")
        for name, (least, most) in BOUNDS.items():
            value = getattr(self, name)
            if not (value >= least and (most is None or value <= most)):
                limit = f"at least {least}" if most is None else f"in [{least}, {most}]"
                raise ConfigError(f"objective.{name}={value} must be {limit}")

    @property
    def needs_rollout(self) -> bool:
        """A step begins with drawing completions."""
        return True

    @property
    def needs_reference(self) -> bool:
        """Only for a KL term."""
        return self.kl_coef > 0.0

    def warnings(self, prompts: int | None = None, group_size: int | None = None) -> tuple[str, ...]:
        """Sentences about a configuration that is allowed and yet cannot do what it says, see `policy_warnings`.

        Args:
            prompts: prompts of one process' rollout, where known.
            group_size: completions a prompt, where known.
        """
        return policy_warnings(self, prompts, group_size)

    def shape(self, totals: Tensor, lengths: Tensor) -> Tensor:
        """Total rewards [B, G] with the soft overlong penalty of completions of `lengths` [B, G] tokens."""
        return totals + self._penalty(lengths).to(totals)

    def advantages(
        self,
        totals: Tensor,
        columns: Tensor | None = None,
        weights: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> Tensor:
        """Advantages [B, G].

        Args:
            totals: [B, G] weighted sums of the reward terms.
            columns: [B, G, K] values of the terms before weighting; read by advantage=per_reward alone.
            weights: [K] of the terms; None: all 1.
            lengths: [B, G] tokens of each completion for the soft overlong penalty, which is part of the total and, in
                per_reward, one more term of weight 1. None leaves it out, for totals that `shape` has been through.

        Raises:
            ValueError: per_reward without columns, or with a penalty and without lengths.
        """
        return group_advantages(*self._rewards(totals, columns, weights, lengths))

    def flat(
        self,
        totals: Tensor,
        columns: Tensor | None = None,
        weights: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> Tensor:
        """Groups [B] bool that teach nothing, as all their advantages are exactly 0; `resample_flat` draws them again.

        Arguments as in `advantages`. In mode "reference" a group of equal rewards may keep its rounding noise and is
        then not flat, as in the released code.
        """
        return (self.advantages(totals, columns, weights, lengths) == 0.0).all(-1)

    def kept(self, completed: Tensor) -> Tensor:
        """[N] bool, which of [N] completions take part in the loss; the others leave its denominators too."""
        return kept_completions(completed, self.overlong)

    def ratio(self, logprobs: Tensor, old_logprobs: Tensor, completion_mask: Tensor) -> Tensor:
        """Importance ratio: [N, 1] at the sequence level, else [N, L] (a token's ratio is 1 where masked)."""
        return importance_ratio(logprobs, old_logprobs, completion_mask, self.ratio_level)

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
        total: UpdateSize | None = None,
        weights: Tensor | None = None,
    ) -> LossOutput:
        """Loss of N completions, whole groups or parts of them.

        Args:
            logprobs: [N, L] log-probabilities of the sampled tokens under the current policy, in nats.
            old_logprobs: [N, L] under the policy that sampled.
            ref_logprobs: [N, L] under the frozen reference; may be None when `kl_coef` is 0.
            advantages: [N].
            completion_mask: [N, L] bool, True up to and including EOS. What stands under False has no influence.
            total: size of the update of which these completions are a part; None: they are all of it. Losses and
                gradients of the parts add up to those of the whole.
            weights: [N, 1] or [N, L] factors of the policy loss, not of the KL term, for completions that another
                program drew, see `o3v.objectives.correction`; None: 1.

        Returns:
            The loss, with metrics `policy_loss` and `kl` (loss = policy_loss + kl_coef kl; kl is 0 without a
            reference) and those of `ratio_metrics` over completions (sequence level) or tokens; `counted` says over
            how many. `merged_metrics` puts those of several parts together.

        Raises:
            ValueError: `ref_logprobs` is missing although `kl_coef` asks for it.
        """
        if ref_logprobs is None and self.needs_reference:
            raise ValueError(f"kl_coef={self.kl_coef} needs ref_logprobs")
        ratio = self.ratio(logprobs, old_logprobs, completion_mask)
        gain = advantages.detach().unsqueeze(-1)  # [N, 1]
        surrogate = self._surrogate(ratio, gain, logprobs, completion_mask)
        weighted = surrogate if weights is None else surrogate * weights.detach()
        policy_loss = -self._sum(weighted, completion_mask, total)
        kl = self._kl(logprobs, ref_logprobs, ratio, completion_mask, total)
        loss = policy_loss + self.kl_coef * kl if self.needs_reference else policy_loss
        metrics, counted = self._ratio_metrics(ratio.detach(), gain, completion_mask)
        return LossOutput(loss, {"policy_loss": policy_loss.detach(), "kl": kl.detach()} | metrics, counted)

    def _penalty(self, lengths: Tensor) -> Tensor:
        cache = max(round(self.overlong_cache * self.max_length), 1) if self.overlong_cache > 0.0 else 0
        return soft_overlong_penalty(lengths, self.max_length, cache)

    def _rewards(
        self, totals: Tensor, columns: Tensor | None, weights: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor, str, Tensor | None, Tensor | None]:
        """Totals, mode, columns and weights with the penalty in them."""
        if self.overlong_cache == 0.0:
            return totals, self.advantage, columns, weights
        if self.advantage != "per_reward" or columns is None:
            return totals if lengths is None else self.shape(totals, lengths), self.advantage, columns, weights
        if lengths is None:
            raise ValueError("advantage=per_reward with overlong_cache needs lengths")
        penalty = self._penalty(lengths).to(columns).unsqueeze(-1)
        one = columns.new_ones(1)
        weights = columns.new_ones(columns.shape[-1]) if weights is None else weights.to(columns)
        return totals, self.advantage, torch.cat([columns, penalty], -1), torch.cat([weights, one])

    def _surrogate(self, ratio: Tensor, gain: Tensor, logprobs: Tensor, mask: Tensor) -> Tensor:
        clipped = self.clipped(ratio)
        if self.surrogate == "cispo":
            return cispo_surrogate(clipped, gain, logprobs, mask)
        return clip_surrogate(ratio, clipped, gain)

    def _kl(
        self, logprobs: Tensor, ref_logprobs: Tensor | None, ratio: Tensor, mask: Tensor, total: UpdateSize | None
    ) -> Tensor:
        if ref_logprobs is None:
            return logprobs.new_zeros(())
        zeros = torch.zeros_like(logprobs)
        distance = kl_estimate(
            torch.where(mask, logprobs, zeros), torch.where(mask, ref_logprobs, zeros), self.kl_estimator
        )
        return self._sum(distance * ratio if self.kl_bias_correction else distance, mask, total)

    def _sum(self, values: Tensor, mask: Tensor, total: UpdateSize | None) -> Tensor:
        return aggregate(values.expand(mask.shape), mask, self.aggregation, self.max_length, total)

    def _ratio_metrics(self, ratio: Tensor, gain: Tensor, mask: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        counts = mask.any(-1, keepdim=True) if self.ratio_level == "sequence" else mask
        low, high = clip_acts(ratio, self.clipped(ratio), gain, self.surrogate)
        return ratio_metrics(ratio[counts], low[counts], high[counts]), counts.sum()
