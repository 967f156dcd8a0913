"""The last layer is computed where it is read, and nowhere else."""

from types import SimpleNamespace

import pytest
import torch

from o3v.errors import ConfigError
from o3v.models.last_layer import trim_last_layer
from o3v.models.logprobs import packed_scores
from o3v.models.prefix import read_prompts
from tests import tiny


def mlp_tokens(policy, run):
    """Tokens through the MLP of each layer while `run` runs."""
    counts = []
    layers = policy.model.model.language_model.layers
    hooks = [
        layer.mlp.register_forward_pre_hook(lambda _, inputs: counts.append(inputs[0].shape[1])) for layer in layers
    ]
    with torch.no_grad():
        run()
    for hook in hooks:
        hook.remove()
    return counts


def test_a_prompts_last_layer_serves_its_last_token_only(policy):
    prompts = policy.encode(tiny.mixed_prompts(policy))
    whole = int(prompts.attention_mask.sum())
    assert mlp_tokens(policy, lambda: read_prompts(policy, prompts)) == [whole] * 3 + [3]


def test_completions_keep_every_token(policy):
    prompts = policy.encode(tiny.mixed_prompts(policy))
    ids, mask = tiny.ragged(policy, [5, 1, 4])
    whole = int(prompts.attention_mask.sum())
    counts = mlp_tokens(policy, lambda: packed_scores(policy, prompts, ids, mask))
    assert counts == [whole + 7] * 3 + [3 + 7]


def test_a_prefix_is_that_of_the_whole_last_layer(policy, monkeypatch):
    """Against the library's own forward, which computes all of it."""
    prompt = policy.encode([tiny.clip_prompt(policy, 3)])
    with torch.no_grad():
        prefix = read_prompts(policy, prompt)
        plain = policy.model.model(**prompt.inputs(), use_cache=True)
    assert torch.allclose(prefix.hidden[0], plain.last_hidden_state[0, -1], atol=1e-5)
    for layer, cached in enumerate(plain.past_key_values.layers):
        assert torch.allclose(prefix.keys[layer][0], cached.keys, atol=1e-5)
        assert torch.allclose(prefix.values[layer][0], cached.values, atol=1e-5)


def test_a_copy_of_the_model_uses_its_own_weights(policy, fresh_policy):
    with torch.no_grad():
        fresh_policy.model.model.language_model.layers[-1].mlp.down_proj.weight.zero_()
    prompt = policy.encode([tiny.clip_prompt(policy, 2)])
    with torch.no_grad():
        one, other = (read_prompts(p, prompt).hidden for p in (policy, fresh_policy))
    assert float((one - other).abs().max()) > 1e-3


def test_features_behind_the_last_layer_are_refused():
    model = SimpleNamespace(
        language_model=SimpleNamespace(layers=[torch.nn.Identity()]),
        visual=SimpleNamespace(deepstack_visual_indexes=[0]),
    )
    with pytest.raises(ConfigError, match="deepstack_visual_indexes need more than 1 layers"):
        trim_last_layer(model)
