"""One SFT step: the loss of the assistant's turns under teacher forcing."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from o3v.data.stream import Batch
from o3v.errors import DataError
from o3v.models.logprobs import dense_scores, dense_scores_with_prompt
from o3v.models.policy import Encoded
from o3v.objectives.sft import ChatTokens
from o3v.training.learner import Learner, Update
from o3v.training.peers import ALONE, Peers


def sft_step(learner: Learner, batch: Batch, update: Update, peers: Peers = ALONE) -> dict[str, float]:
    """Teach the targets of a batch; returns metrics. `update` applies a loss.

    Gradients are averaged over the processes, so each process' loss counts by its share of the tokens: a token weighs
    the same however many processes share a batch.

    Raises:
        DataError: the data has no reasoning to learn (an RL file).
    """
    passes = 0 if batch.encoded is None else batch.encoded.vision_passes
    updates, passes = peers.most([int(batch.encoded is not None), passes])
    if batch.encoded is None:
        if updates:  # in the order of calls of who has something to learn from
            logprobs = _dense(learner, *learner.blank(passes))
            peers.mean(0.0)
            update(logprobs.sum() * 0.0, True)
        return {}
    if batch.target_ids is None or batch.target_mask is None:
        names = [e.sample.id for e in batch.examples if e.sample is not None and e.prompt.target is None]
        raise DataError(
            f"objective=sft needs rows with reasoning_process; empty in {names[:3]}. Use the SFT file of the data"
        )
    device = learner.policy.device
    prompts, ids, mask = batch.encoded.to(device), batch.target_ids.to(device), batch.target_mask.to(device)
    prompts = replace(prompts, agreed_passes=passes)
    if learner.objective.trained_on == "reference":
        logprobs, mask = _score_whole_rows(learner, prompts, *_with_newline(learner, ids, mask))
    else:
        logprobs = _dense(learner, prompts, ids, mask)
    output = learner.objective.loss(logprobs, mask)
    tokens = float(output.counted)
    share = tokens / max(peers.mean(tokens), 1.0)
    grad_norm = update(output.loss * share, True)
    metrics = {name: float(value) for name, value in output.metrics.items()}
    return metrics | {
        "loss": float(output.loss.detach()) * share,
        "grad_norm": grad_norm,
        "target_tokens": float(mask.sum()),
    }


def _dense(learner: Learner, prompts: Encoded, ids: Tensor, mask: Tensor) -> Tensor:
    """Log-probabilities [B, L] of the targets."""
    return learner.target_scores(lambda policy: dense_scores(policy, prompts, ids, mask), prompts).logprobs


def _with_newline(learner: Learner, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Targets followed by the newline that the chat template writes after a turn; the released code trains on it."""
    newline = learner.policy.processor.tokenizer.encode("\n", add_special_tokens=False)[0]
    end = mask.sum(1, keepdim=True)
    longer = pad(ids, (0, 1), value=learner.policy.pad_id).scatter(1, end, newline)
    return longer, pad(mask, (0, 1), value=False).scatter(1, end, True)


def _score_whole_rows(learner: Learner, prompts: Encoded, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities [B, P+L-1] of prompt and target, and which of them the released code trains on (defect S1).

    A row's first token has nothing before it that could predict it; left padding must not stand in.
    """
    learned = learner.objective.mask(torch.cat([prompts.input_ids, ids], 1), _chat_tokens(learner))
    width = prompts.input_ids.shape[1]
    predicted = pad(prompts.attention_mask[:, :-1], (1, 0)).bool()
    prompt_mask, mask = learned[:, :width] & predicted, learned[:, width:] & mask
    scores = learner.target_scores(
        lambda policy: dense_scores_with_prompt(policy, prompts, ids, mask, prompt_mask), prompts
    )
    return scores.logprobs, torch.cat([prompt_mask, mask], 1)[:, 1:]


def _chat_tokens(learner: Learner) -> ChatTokens:
    """How the objective reads rows of this model; frames are images, so the image pad is what the release ignores."""
    tokenizer = learner.policy.processor.tokenizer
    return ChatTokens(
        assistant_header=tuple(tokenizer.encode("<|im_start|>assistant\n", add_special_tokens=False)),
        turn_end=learner.policy.eos_id,
        pad=learner.policy.pad_id,
        reference_ignored=(tokenizer.convert_tokens_to_ids("<|image_pad|>"),),
    )
