"""What to log about importance ratios, and how the passes of one update add up."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from o3v.objectives.output import LossOutput

SUMS = ("policy_loss", "kl")


def ratio_metrics(ratio: Tensor, low: Tensor, high: Tensor) -> dict[str, Tensor]:
    """Spread of the ratios and share of them on which the clip acts.

    Args:
        ratio: [M] ratios of completions or tokens that count.
        low: [M] bool, the clip acts below 1.
        high: [M] bool, the clip acts above 1.

    Returns:
        `clip_frac`, `clip_frac_low`, `clip_frac_high`, `ratio_mean`, `ratio_std` (M in the denominator), `ratio_max`
        and `ratio_min`; all 0 where M is 0.

    Example:
        >>> ratio, no = torch.tensor([0.5, 1.5]), torch.tensor([False, False])
        >>> {name: float(value) for name, value in ratio_metrics(ratio, ~no, no).items() if "ratio" in name}
        {'ratio_mean': 1.0, 'ratio_std': 0.5, 'ratio_max': 1.5, 'ratio_min': 0.5}
    """
    seen = ratio if ratio.numel() else ratio.new_zeros(1)
    mean = seen.mean()
    return {
        "clip_frac": _share(low | high),
        "clip_frac_low": _share(low),
        "clip_frac_high": _share(high),
        "ratio_mean": mean,
        "ratio_std": ((seen - mean) ** 2).mean().sqrt(),
        "ratio_max": seen.max(),
        "ratio_min": seen.min(),
    }


def merged_metrics(passes: Sequence[LossOutput]) -> dict[str, Tensor]:
    """Metrics of an update from those of the passes that it was computed in, the same as of one pass.

    `policy_loss` and `kl` add up, as each pass is divided by the size of the whole update; shares, means and spread
    are weighted by how many ratios a pass counted; the extremes are those of all.

    Args:
        passes: outputs of `PolicyObjective.loss`, at least one.

    Returns:
        The same names.
    """
    counts = torch.stack([one.counted for one in passes]).double()
    table = {name: torch.stack([one.metrics[name] for one in passes]).double() for name in passes[0].metrics}
    seen = counts > 0
    if not seen.any():
        seen = torch.ones_like(seen)
    weights = counts / counts.sum().clamp(min=1)
    merged = {name: (weights * column).sum() for name, column in table.items()}
    merged |= {name: table[name].sum() for name in SUMS}
    spread = table["ratio_std"] ** 2 + (table["ratio_mean"] - merged["ratio_mean"]) ** 2
    merged["ratio_std"] = (weights * spread).sum().sqrt()
    merged["ratio_max"], merged["ratio_min"] = table["ratio_max"][seen].max(), table["ratio_min"][seen].min()
    return {name: value.to(passes[0].metrics[name].dtype) for name, value in merged.items()}


def _share(chosen: Tensor) -> Tensor:
    return chosen.sum() / max(chosen.numel(), 1)
