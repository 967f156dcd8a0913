"""Every way of scoring completions against the library's own forward, and the wrong versions that this catches."""

from dataclasses import replace

import pytest
import torch

from o3v.models import group_attention, logprobs, packing, passes
from o3v.models.load import make_policy
from o3v.models.logprobs import dense_scores, dense_scores_with_prompt, kept_scores, mask_scores, packed_scores
from o3v.models.prefix import join, read_prompts
from tests import tiny

LENGTHS = [5, 9, 1, 4, 7, 2]  # three prompts, two completions each


def kept(policy, prompts, *rest):
    return kept_scores(policy, read_prompts(policy, prompts), *rest)


def logprobs_by(way):
    return lambda *arguments: way(*arguments).logprobs


WAYS = {
    name: logprobs_by(way)
    for name, way in {"kept": kept, "split": packed_scores, "mask": mask_scores, "dense": dense_scores}.items()
}
SEEN = 0.05  # nats; a wrong version differs by more


@pytest.fixture(scope="module")
def batch(policy):
    prompts = tiny.mixed_prompts(policy)
    return prompts, policy.encode(prompts), *tiny.ragged(policy, LENGTHS)


@pytest.fixture(scope="module")
def expected(policy, batch):
    """Each row alone, unpadded, through the library's plain forward with its own positions."""
    prompts, _, ids, mask = batch
    rows = [plain_forward(policy, prompts[n // 2], ids[n][mask[n]]) for n in range(len(ids))]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)


def plain_forward(policy, prompt, completion, temperature=1.0):
    encoded = policy.encode([prompt])
    with torch.no_grad():
        logits = policy.model(
            input_ids=torch.cat([encoded.input_ids, completion[None]], 1),
            attention_mask=torch.ones(1, encoded.input_ids.shape[1] + len(completion), dtype=torch.long),
            mm_token_type_ids=torch.cat([encoded.mm_token_type_ids, torch.zeros_like(completion[None])], 1),
            pixel_values=encoded.pixel_values,
            image_grid_thw=encoded.image_grid_thw,
        ).logits[0, encoded.input_ids.shape[1] - 1 : -1]
    logits[:, list(policy.banned_ids)] = -torch.inf
    return (logits / temperature).log_softmax(-1).gather(1, completion[:, None])[:, 0]


def error_of(policy, encoded, batch, expected, way="split"):
    with torch.no_grad():
        return float((WAYS[way](policy, encoded, *batch[2:]) - expected).abs().max())


def gradients(policy, way, encoded, ids, mask):
    policy.model.zero_grad()
    weights = torch.rand(ids.shape, generator=torch.Generator().manual_seed(1))
    (way(policy, encoded, ids, mask) * weights).sum().backward()
    return {name: p.grad for name, p in policy.model.named_parameters() if p.grad is not None}


def relative(found, wanted):
    return float((found - wanted).norm() / wanted.norm().clamp(min=1e-12))


@pytest.mark.bounds
@pytest.mark.parametrize("way", WAYS)
def test_equal_to_the_librarys_own_forward(policy, batch, expected, way):
    assert float(expected[batch[3]].std()) > 0.5  # a constant would agree with anything
    assert error_of(policy, batch[1], batch, expected, way) < 1e-5


@pytest.mark.parametrize("way", WAYS)
def test_at_another_temperature(policy, batch, way):
    prompts, encoded, ids, mask = batch
    with torch.no_grad():
        found = WAYS[way](policy, encoded, ids, mask, 0.6)
    for n in range(len(ids)):
        wanted = plain_forward(policy, prompts[n // 2], ids[n][mask[n]], 0.6)
        assert torch.allclose(found[n][mask[n]], wanted, atol=2e-5)


def test_masked_positions_are_zero(policy, batch):
    with torch.no_grad():
        for way in WAYS.values():
            assert not way(policy, batch[1], *batch[2:])[~batch[3]].any()


@pytest.mark.parametrize("way", ["kept", "split", "mask"])
def test_one_token_completions(policy, batch, way):
    ids, mask = batch[2][:, :1], batch[3][:, :1]
    with torch.no_grad():
        found = WAYS[way](policy, batch[1], ids, mask)
        assert torch.allclose(found, WAYS["dense"](policy, batch[1], ids, mask), atol=1e-5)


@pytest.mark.parametrize("way", WAYS)
def test_left_padding_never_changes_a_row(policy, batch, way):
    prompts, encoded, ids, mask = batch
    with torch.no_grad():
        together = WAYS[way](policy, encoded, ids, mask)
        for b, prompt in enumerate(prompts):
            alone = WAYS[way](policy, policy.encode([prompt]), ids[2 * b : 2 * b + 2], mask[2 * b : 2 * b + 2])
            assert torch.allclose(together[2 * b : 2 * b + 2], alone, atol=1e-5)


@pytest.mark.parametrize("way", ["split", "mask", "dense"])
def test_selected_prompts_keep_their_own_pixels(policy, batch, expected, way):
    _, encoded, ids, mask = batch
    order = [2, 0]
    rows = [4, 5, 0, 1]
    with torch.no_grad():
        found = WAYS[way](policy, encoded.select(order), ids[rows], mask[rows])
    assert torch.allclose(found, expected[rows], atol=1e-5)


def test_selected_prefixes_and_joined_ones(policy, batch, expected):
    _, encoded, ids, mask = batch
    with torch.no_grad():
        whole = read_prompts(policy, encoded)
        parts = join([read_prompts(policy, encoded.select([2])), read_prompts(policy, encoded.select([0]))])
        for prefix in (whole.select([2, 0]), parts):
            found = kept_scores(policy, prefix, ids[[4, 5, 0, 1]], mask[[4, 5, 0, 1]]).logprobs
            assert torch.allclose(found, expected[[4, 5, 0, 1]], atol=1e-5)


def test_state_left_by_an_earlier_call_has_no_influence(policy, batch, expected):
    prompts, encoded, _, _ = batch
    other = policy.encode([prompts[1]])
    policy.model.generate(**other.inputs(), max_new_tokens=2, do_sample=False)
    for way in WAYS:
        assert error_of(policy, encoded, batch, expected, way) < 1e-5


# ---- wrong versions that the comparison catches


def positions_at_prompt_length(policy, prompts):
    positions, _ = prompt_positions(policy, prompts)
    return positions, prompts.attention_mask.sum(1)


prompt_positions = packing.prompt_positions


@pytest.mark.parametrize("way", WAYS)
def test_completions_that_go_on_at_the_prompts_length_are_caught(policy, batch, expected, way, monkeypatch):
    for module in (packing, logprobs):
        monkeypatch.setattr(module, "prompt_positions", positions_at_prompt_length)
    assert error_of(policy, batch[1], batch, expected, way) > SEEN


@pytest.mark.parametrize("way", WAYS)
def test_dropped_token_types_are_caught(policy, batch, expected, way):
    flat = replace(batch[1], mm_token_type_ids=torch.zeros_like(batch[1].mm_token_type_ids))
    assert error_of(policy, flat, batch, expected, way) > SEEN


def test_swapped_pixels_are_caught(policy, batch, expected):
    swapped = replace(batch[1], pixel_values=batch[1].pixel_values.flip(0))
    assert error_of(policy, swapped, batch, expected) > SEEN


def test_attended_padding_is_caught(policy, batch, expected):
    blind = replace(batch[1], attention_mask=torch.ones_like(batch[1].attention_mask))
    assert error_of(policy, blind, batch, expected) > SEEN


def test_a_plain_causal_mask_is_caught(policy, batch, expected, monkeypatch):
    """Completions that see those before them."""

    def causal(row):
        size = len(row.prompt.input_ids) + len(row.packed.input_ids)
        return torch.ones(1, 1, size, size, dtype=torch.bool).tril()

    monkeypatch.setattr(logprobs._Row, "group_mask", causal)
    assert error_of(policy, batch[1], batch, expected, "mask") > SEEN


@pytest.mark.parametrize("way", ["kept", "split"])
def test_completions_that_see_their_own_future_are_caught(policy, batch, expected, way, monkeypatch):
    def uncausal(q, k, v, causal, scale, right=group_attention.block_attention):
        return right(q, k, v, False, scale)

    monkeypatch.setattr(group_attention, "block_attention", uncausal)
    assert error_of(policy, batch[1], batch, expected, way) > SEEN


@pytest.mark.parametrize("way", ["kept", "split"])
def test_another_prompts_keys_are_caught(policy, batch, expected, way, monkeypatch):
    def rolled(q, k, v, prompt_k, prompt_v, *rest, right=passes.group_attention):
        return right(q, k, v, prompt_k.roll(1, 2), prompt_v, *rest)

    monkeypatch.setattr(passes, "group_attention", rolled)
    assert error_of(policy, batch[1], batch, expected, way) > SEEN


# ---- how much work it is


@pytest.mark.parametrize(("way", "rows"), [("kept", 1), ("split", 1), ("mask", 1), ("dense", 2)])
def test_a_prompt_passes_the_vision_tower_once(policy, batch, way, rows):
    """Two completions a prompt; dense sends a prompt's pixels along with each of them."""
    patches, tokens = [], []
    hooks = [
        policy.model.model.visual.register_forward_pre_hook(lambda _, inputs: patches.append(len(inputs[0]))),
        policy.model.model.language_model.layers[0].mlp.register_forward_pre_hook(
            lambda _, inputs: tokens.append(inputs[0].shape[0] * inputs[0].shape[1])
        ),
    ]
    with torch.no_grad():
        WAYS[way](policy, *batch[1:])
    for hook in hooks:
        hook.remove()
    assert patches == [len(batch[1].pixel_values) * rows]
    width = batch[1].input_ids.shape[1]
    fed = int(batch[1].attention_mask.sum()) + sum(length - 1 for length in LENGTHS)
    assert sum(tokens) == (fed if way != "dense" else len(LENGTHS) * (width + max(LENGTHS)))


# ---- prompt tokens too (the reference's SFT)


def test_prompt_and_target_equal_the_librarys_loss(policy):
    prompts = tiny.mixed_prompts(policy)
    encoded = policy.encode(prompts)
    ids, mask = policy.encode_targets([p.target for p in prompts])
    hidden = policy.processor.tokenizer.convert_tokens_to_ids("<|image_pad|>")
    prompt_mask = encoded.attention_mask.bool() & (encoded.input_ids != hidden)
    with torch.no_grad():
        found = dense_scores_with_prompt(policy, encoded, ids, mask, prompt_mask).logprobs
        labels = torch.cat([encoded.input_ids, ids], 1).masked_fill(~torch.cat([prompt_mask, mask], 1), -100)
        inputs = encoded.inputs() | {
            "input_ids": torch.cat([encoded.input_ids, ids], 1),
            "attention_mask": torch.cat([encoded.attention_mask, mask.long()], 1),
            "mm_token_type_ids": torch.cat([encoded.mm_token_type_ids, torch.zeros_like(ids)], 1),
        }
        expected = policy.model(**inputs, labels=labels).loss
    counted = (labels[:, 1:] != -100).sum()
    assert int((found != 0).sum()) >= int(counted)
    assert float(-found[labels[:, 1:] != -100].sum() / counted) == pytest.approx(float(expected), abs=1e-5)


# ---- activations recomputed in the backward pass


@pytest.mark.parametrize("name", tiny.FAMILIES)
def test_recomputing_runs_every_layer_twice_and_changes_nothing(name):
    policies = [
        make_policy(replace(tiny.spec(name), gradient_checkpointing=on), tiny.tokenizer(), 0) for on in (False, True)
    ]
    encoded = policies[0].encode(tiny.mixed_prompts(policies[0]))
    ids, mask = tiny.ragged(policies[0], [3, 4, 5])
    results, calls = [], []
    for policy in policies:
        count = []
        policy.model.model.language_model.layers[1].mlp.register_forward_pre_hook(
            lambda *_, count=count: count.append(1)
        )
        policy.model.train()
        results.append(gradients(policy, WAYS["dense"], encoded, ids, mask))
        calls.append(len(count))
    assert calls == [1, 2]
    assert all(relative(results[1][key], results[0][key]) < 1e-5 for key in results[0])
