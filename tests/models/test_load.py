"""Saving and loading: plain transformers reads what the project writes, and presets are found where they lie."""

import json
import resource
import shutil
from dataclasses import replace

import pytest
import torch

from o3v.errors import ConfigError, StorageError
from o3v.models import load
from o3v.models.load import load_policy, make_policy
from tests import tiny


@pytest.fixture(scope="module")
def exported(policy, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "model"
    load.save_policy(policy, folder)
    return folder


def spec_of(policy, **changes):
    return replace(tiny.spec(policy.family.name), **changes)


def logits(model, encoded):
    with torch.no_grad():
        return model(**encoded.inputs()).logits


def test_plain_transformers_loads_the_folder(policy, exported):
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model = AutoModelForImageTextToText.from_pretrained(exported)
    processor = AutoProcessor.from_pretrained(exported)
    encoded = policy.encode(tiny.mixed_prompts(policy))
    assert type(model) is type(policy.model) and type(processor) is type(policy.processor)
    assert torch.allclose(
        logits(model, encoded), logits(policy.model, encoded), atol=1e-4
    )  # another library multiplies
    assert (exported / "model.safetensors").is_file() and not list(exported.glob("*.bin"))


def test_a_loaded_policy_encodes_and_answers_like_the_saved_one(policy, exported):
    again = load_policy(spec_of(policy), exported)
    prompts = tiny.mixed_prompts(policy)
    one, two = policy.encode(prompts), again.encode(prompts)
    assert all(torch.equal(value, two.inputs()[name]) for name, value in one.inputs().items())
    assert torch.equal(logits(again.model, two), logits(policy.model, one))
    assert not again.model.training
    assert again.banned_ids == policy.banned_ids and again.eos_id == policy.eos_id


def test_presets_are_found_below_the_root_and_then_among_the_projects_own(policy, exported, tmp_path, monkeypatch):
    spec = spec_of(policy, root=str(tmp_path / "root"), path="some/model")
    monkeypatch.setattr(load, "ASSETS", tmp_path / "assets")
    shutil.copytree(exported, tmp_path / "assets" / "some" / "model")
    assert spec.find() == tmp_path / "assets/some/model"
    shutil.copytree(exported, tmp_path / "root" / "some" / "model")
    assert spec.find() == tmp_path / "root/some/model"
    assert load_policy(spec).family == policy.family
    assert replace(spec, path=str(exported)).find() == exported  # an absolute path stands for itself


def test_a_missing_preset_names_every_place(policy, tmp_path):
    with pytest.raises(ConfigError) as error:
        load_policy(spec_of(policy, root=str(tmp_path), path="gone"))
    assert str(tmp_path / "gone") in str(error.value) and str(load.ASSETS / "gone") in str(error.value)


def test_a_missing_export_names_the_folder(policy, tmp_path):
    with pytest.raises(ConfigError, match=f"{tmp_path}.*no model there"):
        load_policy(spec_of(policy), tmp_path)


def test_weights_of_the_other_family_are_refused(policy, exported):
    other = next(name for name in tiny.FAMILIES if name != policy.family.name)
    with pytest.raises(ConfigError, match=f"model.family='{other}'.*{policy.family.name}"):
        load_policy(tiny.spec(other), exported)


@pytest.mark.parametrize(("key", "value"), [("family", "qwen9"), ("dtype", "int8")])
def test_values_that_are_not_allowed(key, value):
    with pytest.raises(ConfigError, match=f"model.{key}='{value}'.*allowed"):
        replace(tiny.spec("qwen2_5_vl"), **{key: value})


def test_a_real_model_cannot_be_made_from_nothing():
    with pytest.raises(ConfigError, match=r"model\.architecture"):
        make_policy(replace(tiny.spec("qwen2_5_vl"), architecture=None), tiny.tokenizer(), 0)


def test_the_seed_decides_the_weights_and_leaves_the_global_one_alone(policy):
    name = policy.family.name
    state = torch.random.get_rng_state()
    one, same, other = (tiny.random_policy(name, 1.0, seed).model.state_dict() for seed in (3, 3, 4))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not all(torch.equal(one[key], other[key]) for key in one)


def test_dtype_and_frozen_vision_tower(policy, exported):
    loaded = load_policy(spec_of(policy, dtype="bfloat16", train_vision=False), exported)
    assert {p.dtype for p in loaded.model.parameters()} == {torch.bfloat16}
    assert not any(p.requires_grad for p in loaded.model.model.visual.parameters())
    assert all(p.requires_grad for p in loaded.model.model.language_model.parameters())


def test_ids_in_the_configuration_are_the_tokenizers(policy, exported):
    config = json.loads((exported / "config.json").read_text())
    token = policy.processor.tokenizer.convert_tokens_to_ids
    assert config["image_token_id"] == token("<|image_pad|>") and config["video_token_id"] == token("<|video_pad|>")
    assert config["text_config"]["vocab_size"] == len(policy.processor.tokenizer)
    assert config["text_config"]["eos_token_id"] == policy.eos_id


def test_a_model_that_cannot_be_written_is_told_and_leaves_the_old_one(policy, tmp_path):
    folder = tmp_path / "model"
    load.save_policy(policy, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))  # a real error of the system, as on a full disk
    try:
        with pytest.raises(StorageError, match=f"{folder}: the model cannot be written.*too large"):
            load.save_policy(policy, folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_model_is_replaced_whole(policy, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model-00001-of-00002.safetensors").write_text("of an earlier export")
    load.save_policy(policy, tmp_path / "model")
    assert [path.name for path in (tmp_path / "model").glob("*.safetensors")] == ["model.safetensors"]
