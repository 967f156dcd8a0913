"""Policy objectives that are allowed and yet cannot do what they say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from o3v.objectives.policy import PolicyObjective


def policy_warnings(objective: PolicyObjective, prompts: int | None, group_size: int | None) -> tuple[str, ...]:
    """Sentences to show before a run starts.

    Named are: one update a rollout, where clipping never acts; groups of one; a batch std over one prompt; a KL whose
    gradient is 0 in the mean; a bias correction without a KL.

    Args:
        objective: the configuration.
        prompts: prompts of one process' rollout, where known.
        group_size: completions a prompt, where known.

    Returns:
        None, one or several sentences.
    """
    return (
        *_about_updates(objective, prompts),
        *_about_advantages(objective, prompts, group_size),
        *_about_kl(objective),
    )


def _about_updates(objective: PolicyObjective, prompts: int | None) -> Iterator[str]:
    # A rollout cannot be cut into more minibatches than it has prompts.
    parts = objective.minibatches if prompts is None else min(objective.minibatches, prompts)
    if objective.updates_per_rollout * parts == 1:
        yield (
            f"objective: updates_per_rollout={objective.updates_per_rollout} and minibatches={objective.minibatches} "
            f"give one update a rollout{'' if prompts is None else f' of {prompts} prompts'}; the policy is then "
            "still the sampling policy, so the ratio is 1, clipping never acts and ratio_level makes no difference."
        )


def _about_advantages(objective: PolicyObjective, prompts: int | None, group_size: int | None) -> Iterator[str]:
    if group_size == 1:
        again = "" if objective.resample_flat == 0 else f" after {objective.resample_flat} vain rounds of resampling"
        yield (
            f"objective: advantage={objective.advantage} compares the completions of a prompt; with "
            f"rollout.group_size=1 every advantage is 0 and no policy gradient is left{again}."
        )
    elif objective.advantage == "batch_std" and prompts == 1:
        yield "objective: advantage=batch_std over 1 prompt a process is the group's std, the same as advantage=std."


def _about_kl(objective: PolicyObjective) -> Iterator[str]:
    if objective.kl_coef == 0.0:
        if objective.kl_bias_correction:
            yield "objective: kl_bias_correction=true corrects nothing with kl_coef=0."
    elif objective.kl_estimator == "k1" and not objective.kl_bias_correction:
        yield (
            "objective: the gradient of kl_estimator=k1 is 0 in the mean, so kl_coef adds noise and does not pull the "
            "policy to the reference; use k2, or kl_bias_correction=true."
        )
