"""One SFT step: which tokens count, and the loss over them."""

from dataclasses import replace

import pytest
import torch

from o3v.errors import DataError
from o3v.models.logprobs import dense_scores
from o3v.objectives.sft import IGNORED, ChatTokens, SFTObjective
from o3v.training import sft_step as module
from o3v.training.sft_step import sft_step
from tests import tiny
from tests.training.steps import Updater, batch_of, learner_of, relative

ASSISTANT, REFERENCE = SFTObjective("assistant"), SFTObjective("reference")


def conversation(policy, prompt):
    """The whole chat as the template writes it, answer included, as ids of one row."""
    user = [{"type": "image"} if isinstance(p, int) else {"type": "text", "text": p} for p in prompt.parts]
    messages = [
        {"role": "system", "content": [{"type": "text", "text": prompt.system}]},
        {"role": "user", "content": user},
        {"role": "assistant", "content": [{"type": "text", "text": prompt.target}]},
    ]
    text = policy.processor.apply_chat_template(messages, tokenize=False)
    frames = [torch.from_numpy(prompt.clip.frames[p]).permute(2, 0, 1) for p in prompt.parts if isinstance(p, int)]
    return policy.processor(text=[text], images=frames, return_tensors="pt", do_resize=False)


def library_loss(policy, prompts, objective):
    """Mean over all rows' learned tokens, each row alone through the library's forward with the objective's labels."""
    token = policy.processor.tokenizer.convert_tokens_to_ids
    header = policy.processor.tokenizer.encode("<|im_start|>assistant\n")
    tokens = ChatTokens(tuple(header), policy.eos_id, policy.pad_id, (token("<|image_pad|>"),))
    total, count = 0.0, 0
    for prompt in prompts:
        row = conversation(policy, prompt)
        labels = objective.labels(row["input_ids"], tokens)
        with torch.no_grad():
            logits = policy.model(**row).logits[0, :-1]
        if objective is ASSISTANT:  # banned tokens have no probability in answers
            logits[:, list(policy.banned_ids)] = -torch.inf
        learned = labels[0, 1:] != IGNORED
        nll = torch.nn.functional.cross_entropy(logits[learned], labels[0, 1:][learned], reduction="sum")
        total, count = total + float(nll), count + int(learned.sum())
    return total / count, count


@pytest.mark.parametrize("objective", [ASSISTANT, REFERENCE], ids=lambda o: o.trained_on)
def test_loss_is_the_mean_over_the_objectives_labels(fresh_policy, objective):
    prompts = tiny.mixed_prompts(fresh_policy)
    expected, count = library_loss(fresh_policy, prompts, objective)
    metrics = sft_step(learner_of(fresh_policy, objective), batch_of(fresh_policy, prompts), Updater(fresh_policy))
    assert metrics["target_tokens"] == metrics["tokens"] == count
    assert metrics["loss"] == pytest.approx(expected, abs=1e-4)


def without_newline(learner, ids, mask):
    return ids, mask


def vision_marks_hidden(learner, right=module._chat_tokens):
    token = learner.policy.processor.tokenizer.convert_tokens_to_ids
    extra = (token("<|vision_start|>"), token("<|vision_end|>"))
    tokens = right(learner)
    return replace(tokens, reference_ignored=(*tokens.reference_ignored, *extra))


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("_with_newline", without_newline), ("_chat_tokens", vision_marks_hidden)],
    ids=["newline", "marks"],
)
def test_wrong_reference_masks_are_caught(fresh_policy, name, wrong, monkeypatch):
    prompts = tiny.mixed_prompts(fresh_policy)
    monkeypatch.setattr(module, name, wrong)
    metrics = sft_step(learner_of(fresh_policy, REFERENCE), batch_of(fresh_policy, prompts), Updater(fresh_policy))
    assert metrics["tokens"] != library_loss(fresh_policy, prompts, REFERENCE)[1]


def test_loss_by_hand(fresh_policy):
    prompts = tiny.mixed_prompts(fresh_policy)
    batch = batch_of(fresh_policy, prompts)
    with torch.no_grad():
        logprobs = dense_scores(fresh_policy, batch.encoded, batch.target_ids, batch.target_mask).logprobs
    metrics = sft_step(learner_of(fresh_policy, ASSISTANT), batch, Updater(fresh_policy))
    assert metrics["loss"] == pytest.approx(-float(logprobs.sum()) / int(batch.target_mask.sum()), abs=1e-6)
    assert set(metrics) == {"loss", "nll", "tokens", "target_tokens", "grad_norm"}


@pytest.mark.parametrize("objective", [ASSISTANT, REFERENCE], ids=lambda o: o.trained_on)
def test_a_batch_is_the_token_mean_of_its_rows(fresh_policy, objective):
    """Padding of the others changes nothing: losses and gradients of rows alone add up, weighted by their tokens."""
    prompts = tiny.mixed_prompts(fresh_policy)
    learner = learner_of(fresh_policy, objective)
    together, apart = Updater(fresh_policy), Updater(fresh_policy)
    whole = sft_step(learner, batch_of(fresh_policy, prompts), together)
    parts = [sft_step(learner, batch_of(fresh_policy, [prompt]), apart) for prompt in prompts]
    tokens = [part["tokens"] for part in parts]
    assert sum(tokens) == whole["tokens"]
    assert sum(t * p["loss"] for t, p in zip(tokens, parts, strict=True)) / sum(tokens) == pytest.approx(
        whole["loss"], abs=1e-5
    )
    summed = sum(t * g for t, g in zip(tokens, apart.gradients, strict=True)) / sum(tokens)
    assert relative(together.gradients[0], summed) < 1e-5


def test_steps_lower_the_loss(fresh_policy):
    learner = learner_of(fresh_policy, ASSISTANT)
    batch, updater = batch_of(fresh_policy, tiny.mixed_prompts(fresh_policy)), Updater(fresh_policy, lr=0.02)
    for _ in range(4):
        sft_step(learner, batch, updater)
    assert updater.losses[-1] < updater.losses[0]


def test_rows_without_reasoning_name_themselves_and_the_remedy(policy):
    batch = batch_of(policy, tiny.mixed_prompts(policy))
    prompt = replace(batch.examples[1].prompt, target=None)
    examples = (batch.examples[0], replace(batch.examples[1], prompt=prompt), batch.examples[2])
    with pytest.raises(DataError, match=r"reasoning_process.*'s1'.*SFT file"):
        sft_step(
            learner_of(policy, ASSISTANT), replace(batch, examples=examples, target_ids=None, target_mask=None), None
        )


def test_a_batch_without_readable_samples_is_left_out(policy):
    batch = replace(batch_of(policy, tiny.mixed_prompts(policy)), encoded=None, examples=())
    assert sft_step(learner_of(policy, ASSISTANT), batch, None) == {}
