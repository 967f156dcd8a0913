"""The ways of scoring completions by name, under one signature."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from o3v.models.logprobs import dense_scores, kept_scores, mask_scores, packed_scores
from o3v.models.prefix import Prefix, read_prompts

if TYPE_CHECKING:
    from o3v.models.head import TokenScores
    from o3v.models.policy import Encoded, Policy

_ROWS = {"dense": dense_scores, "mask": mask_scores, "split": packed_scores}
WAYS = ("dense", "mask", "split", "kept")


def score(
    way: str, policy: Policy, prompts: Encoded, ids: Tensor, mask: Tensor, prefix: Prefix | None = None
) -> TokenScores:
    """Scores [N, L] of completions by one of `WAYS`, at temperature 1.

    Args:
        way: its name.
        policy: the model.
        prompts: B prompts.
        ids: [B*G, L] completion tokens, G consecutive rows a prompt.
        mask: [B*G, L] bool.
        prefix: the prompts, already read (kept); None reads them here.
    """
    if way == "kept":
        return kept_scores(policy, read_prompts(policy, prompts) if prefix is None else prefix, ids, mask)
    return _ROWS[way](policy, prompts, ids, mask)
