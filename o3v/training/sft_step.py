"""One SFT step: the loss of the assistant's turns under teacher forcing."""

from __future__ import annotations

import torch
from torch import Tensor

from o3v.data.stream import Batch
from o3v.errors import DataError
from o3v.models.logprobs import dense_logprobs, dense_logprobs_with_prompt
from o3v.models.policy import Encoded
from o3v.training.learner import Learner, Update


def sft_step(learner: Learner, batch: Batch, update: Update) -> dict[str, float]:
    """Teach the targets of a batch; returns metrics.

    Raises:
        DataError: the data has no reasoning to learn (an RL file).
    """
    if batch.encoded is None:
        return {}
    if batch.target_ids is None or batch.target_mask is None:
        ids = [e.sample.id for e in batch.examples if e.sample is not None and e.prompt.target is None]
        raise DataError(
            f"objective=sft needs rows with reasoning_process; empty in {ids[:3]}. Use the SFT file of the data"
        )
    device = learner.policy.device
    prompts, ids, mask = batch.encoded.to(device), batch.target_ids.to(device), batch.target_mask.to(device)
    if learner.objective.trained_on == "reference":
        logprobs, mask = dense_logprobs_with_prompt(
            learner.policy, prompts, ids, mask, _reference_mask(prompts, learner)
        )
    else:
        logprobs = dense_logprobs(learner.policy, prompts, ids, mask)
    output = learner.objective.loss(logprobs, mask)
    grad_norm = update(output.loss, True)
    metrics = {name: float(value) for name, value in output.metrics.items()}
    return metrics | {"loss": float(output.loss.detach()), "grad_norm": grad_norm, "target_tokens": float(mask.sum())}


def _reference_mask(prompts: Encoded, learner: Learner) -> Tensor:
    """Prompt tokens that the released code trains on: all but padding and vision tokens (its defect S1)."""
    hidden = torch.tensor(
        [
            learner.policy.processor.tokenizer.convert_tokens_to_ids(t)
            for t in ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>")
        ],
        device=prompts.input_ids.device,
    )
    return prompts.attention_mask.bool() & ~torch.isin(prompts.input_ids, hidden)
