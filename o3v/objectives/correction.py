"""Importance weights for completions that another program drew than the one that learns.

An engine with other kernels draws from a policy pi_engine that is not quite the policy pi_train whose gradient is
taken, even with the same weights. The policy gradient of what pi_engine drew is corrected by w = pi_train / pi_engine,
cut at a cap so that no token or completion dominates: truncated importance sampling (Ionides 2008, J. Comp. Graph.
Stat. 17(2); V-trace's clipped rho, arXiv:1802.01561, sec. 4.1; for language models Yao et al. 2025, "Your efficient RL
framework secretly brings you off-policy RL training"). "mask" leaves out what lies beyond the cap instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from o3v.errors import ConfigError

LEVELS: Final = ("none", "token", "sequence")
MODES: Final = ("truncate", "mask")

_MAX_LOG_RATIO = 20.0  # e^20 is beyond every cap; keeps a completion of thousands of tokens finite


@dataclass(frozen=True)
class Correction:
    """How the engine's numerics are corrected for (conf/engine).

    Attributes:
        level: "none"; "token", one weight a token (biased where early tokens differ, little variance); or "sequence",
            the product over a completion (no bias below the cap, a variance that grows with length).
        mode: "truncate" takes min(w, cap); "mask" takes w, and 0 above the cap.
        cap: above 1.
    """

    level: str
    mode: str
    cap: float

    def __post_init__(self) -> None:
        for name, allowed in (("level", LEVELS), ("mode", MODES)):
            if getattr(self, name) not in allowed:
                raise ConfigError(f"engine.correction.{name}={getattr(self, name)!r} must be one of {allowed}")
        if self.cap <= 1:
            raise ConfigError(f"engine.correction.cap={self.cap} must be above 1")

    def weights(self, train: Tensor, engine: Tensor, mask: Tensor) -> Tensor | None:
        """Weights of the policy loss: [N, L] of tokens, [N, 1] of completions; None without a correction.

        Args:
            train: [N, L] log-probabilities under the policy that learns, before the first update, by its own pass.
            engine: [N, L] of the same tokens under the engine's.
            mask: [N, L] bool, what counts; a weight is 1 elsewhere.

        Example:
            >>> train, engine = torch.tensor([[-1.0, -1.0]]), torch.tensor([[-1.0, -3.0]])
            >>> mask = torch.ones(1, 2, dtype=torch.bool)
            >>> Correction("token", "truncate", 2.0).weights(train, engine, mask).tolist()
            [[1.0, 2.0]]
            >>> Correction("token", "mask", 2.0).weights(train, engine, mask).tolist()
            [[1.0, 0.0]]
        """
        if self.level == "none":
            return None
        ratio = self._ratio(train, engine, mask)
        beyond = ratio > self.cap
        return ratio.clamp(max=self.cap) if self.mode == "truncate" else ratio.masked_fill(beyond, 0.0)

    def metrics(self, train: Tensor, engine: Tensor, mask: Tensor) -> dict[str, float]:
        """How far engine and training are apart; names are relative to `train/`.

        `rollout/engine_gap` is the mean absolute difference of a token, nats, `rollout/engine_gap_max` the largest;
        `rollout/kl_engine` estimates KL(pi_engine || pi_train) a token without bias and never below 0 (k3, Schulman
        2020, http://joschu.net/blog/kl-approx.html); `rollout/ratio_mean`, `_std`, `_min`, `_max` are of w at the
        level of the correction (tokens without one), `rollout/truncated` the share beyond the cap.
        """
        if not bool(mask.any()):
            return {}
        log_ratio = (train - engine)[mask].double().clamp(-_MAX_LOG_RATIO, _MAX_LOG_RATIO)
        ratio = self._ratio(train, engine, mask)
        seen = (ratio[mask] if ratio.shape == mask.shape else ratio[mask.any(-1)]).double()
        return {
            "rollout/engine_gap": float(log_ratio.abs().mean()),
            "rollout/engine_gap_max": float(log_ratio.abs().max()),
            "rollout/kl_engine": float((log_ratio.expm1() - log_ratio).mean()),
            "rollout/ratio_mean": float(seen.mean()),
            "rollout/ratio_std": float(seen.std(correction=0)),
            "rollout/ratio_min": float(seen.min()),
            "rollout/ratio_max": float(seen.max()),
            "rollout/truncated": float((seen > self.cap).double().mean()),
        }

    def _ratio(self, train: Tensor, engine: Tensor, mask: Tensor) -> Tensor:
        log_ratio = torch.where(mask, train - engine, 0.0)
        if self.level == "sequence":
            log_ratio = log_ratio.sum(-1, keepdim=True)
        return log_ratio.clamp(-_MAX_LOG_RATIO, _MAX_LOG_RATIO).exp()
