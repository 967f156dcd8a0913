"""State dictionaries as Hugging Face folders: equal again, in shards, tied weights once; mistakes are told first."""

import dataclasses
import json
import shutil
from collections import namedtuple
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from o3v.errors import ConfigError, DataError, StorageError
from o3v.models import weights as module
from o3v.models.generation import generation_config
from o3v.models.lora import add_adapter
from o3v.models.weights import (
    FolderSettings,
    fitting_state,
    folder_model,
    read_spec,
    read_weights,
    write_adapter,
    write_weights,
)
from o3v.rollout.sampler import sample_completions
from tests import tiny
from tests.models.test_lora import SETTINGS, moved

WHOLE = FolderSettings("float32", 5, None, {})


@pytest.fixture(scope="module")
def base(policy, tmp_path_factory):
    """A folder of the family with other weights."""
    return tiny.saved_policy(policy.family.name, tmp_path_factory.mktemp("base") / "base", 0.5)


@pytest.fixture(scope="module")
def empty(base):
    """The architecture without weights."""
    return folder_model(base, "float32")


def names_in(folder):
    found = []
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            found += file.keys()
    return found


def test_what_is_written_is_equal_in_shards_and_without_the_tied_head(policy, base, tmp_path):
    state = policy.model.state_dict()
    write_weights(state, base, tmp_path / "m", replace(WHOLE, max_shard_gb=0.001, texts={"note.txt": "kept"}))
    found = read_weights(tmp_path / "m")
    assert found.keys() == state.keys() and all(torch.equal(found[name], state[name]) for name in state)
    shards = sorted((tmp_path / "m").glob("model-*.safetensors"))
    assert len(shards) > 2 and all(path.stat().st_size < 1.1e6 for path in shards)
    assert not [name for name in names_in(tmp_path / "m") if "lm_head" in name]
    assert (tmp_path / "m" / "note.txt").read_text() == "kept" and not list(tmp_path.glob(".*"))


def test_the_folder_is_that_of_save_policy(policy, base, tmp_path):
    from o3v.models.load import save_policy

    save_policy(policy, tmp_path / "saved")
    write_weights(policy.model.state_dict(), base, tmp_path / "written", WHOLE)
    names = [{path.name for path in (tmp_path / folder).iterdir()} for folder in ("saved", "written")]
    assert names[0] == names[1]
    for name in names[0] - {"model.safetensors"}:
        assert (tmp_path / "saved" / name).read_text() == (tmp_path / "written" / name).read_text(), name
    assert sorted(names_in(tmp_path / "saved")) == sorted(names_in(tmp_path / "written"))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_number_types(policy, base, dtype, tmp_path):
    state = policy.model.state_dict()
    write_weights(state, base, tmp_path / "m", replace(WHOLE, dtype=dtype))
    found = read_weights(tmp_path / "m")
    assert all(torch.equal(found[name], state[name].to(getattr(torch, dtype))) for name in state)
    assert json.loads((tmp_path / "m" / "config.json").read_text())["dtype"] == dtype


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_weights_that_are_missing_are_always_told(policy, empty, data):
    state = policy.model.state_dict()
    gone = data.draw(st.sets(st.sampled_from(sorted(state)), max_size=3))
    tied = {"lm_head.weight", "model.language_model.embed_tokens.weight"}
    left = {name: value for name, value in state.items() if name not in gone}
    if gone - tied or tied <= gone:
        with pytest.raises(DataError, match="missing in the checkpoint"):
            fitting_state(left, empty)
    else:
        found = fitting_state(left, empty)
        assert found.keys() == state.keys() - {"lm_head.weight"}
        assert all(torch.equal(found[name], state[name]) for name in found)


def test_weights_of_another_architecture_are_told(policy, empty):
    state = dict(policy.model.state_dict())
    name = "model.language_model.norm.weight"
    with pytest.raises(DataError, match=rf"{name}: has shape \(3,\), the model's is \(128,\)"):
        fitting_state(state | {name: torch.ones(3)}, empty)
    with pytest.raises(DataError, match="no weights of the model: a, b, c and 1 more"):
        fitting_state(state | dict.fromkeys("abcd", torch.ones(1)), empty)


def test_a_tied_weight_with_other_values_is_told(policy, empty):
    state = policy.model.state_dict()
    copied = {name: value.clone() for name, value in state.items()}
    assert fitting_state(copied, empty).keys() == state.keys() - {"lm_head.weight"}
    copied["lm_head.weight"][0, 0] += 1
    with pytest.raises(DataError, match=r"lm_head\.weight: is tied to model\.language_model\.embed_tokens\.weight"):
        fitting_state(copied, empty)


def test_a_full_disk_is_told_before_anything_is_written(policy, base, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage(10, 9, 10**6))
    with pytest.raises(StorageError, match=r"0\.00 GB are free|GB are needed"):
        write_weights(policy.model.state_dict(), base, tmp_path / "m", WHOLE)
    assert not list(tmp_path.iterdir())


def test_a_failure_leaves_what_was_there(policy, base, tmp_path, monkeypatch):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "old").touch()
    monkeypatch.setattr(module, "_write_texts", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(StorageError, match="No space left"):
        write_weights(policy.model.state_dict(), base, tmp_path / "m", WHOLE)
    assert [path.name for path in tmp_path.iterdir()] == ["m"] and (tmp_path / "m" / "old").is_file()


def test_settings_that_are_not_allowed():
    with pytest.raises(ConfigError, match=r"dtype='int8' is not allowed; allowed are auto, float32, bfloat16"):
        replace(WHOLE, dtype="int8")
    with pytest.raises(ConfigError, match=r"max_shard_gb=0"):
        replace(WHOLE, max_shard_gb=0)


# ---- adapters alone


def test_peft_loads_the_adapters_onto_the_base(policy, tmp_path):
    from peft import PeftModel
    from transformers import AutoModelForImageTextToText

    family = policy.family.name
    base = tiny.saved_policy(family, tmp_path / "base")
    trained = tiny.random_policy(family, 1.0)
    add_adapter(trained, SETTINGS)
    moved(trained)
    spec = dataclasses.replace(tiny.spec(family), lora=SETTINGS)
    write_adapter(trained.model.state_dict(), spec, str(base), tmp_path / "adapter", {"README.md": "x"})
    plain = PeftModel.from_pretrained(
        AutoModelForImageTextToText.from_pretrained(base, dtype=torch.float32), tmp_path / "adapter"
    )
    inputs = trained.encode(tiny.mixed_prompts(trained)).inputs()
    with torch.no_grad():
        found, wanted = plain.eval()(**inputs).logits, trained.model(**inputs).logits
    assert float((found - wanted).abs().max()) < 1e-5
    assert json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["base_model_name_or_path"] == str(
        base
    )
    with pytest.raises(ConfigError, match="has no adapters"):
        write_adapter(policy.model.state_dict(), spec, str(base), tmp_path / "none", {})


# ---- the preset out of a run's configuration


def test_a_spec_is_read_back_and_its_target_is_never_called():
    spec = dataclasses.replace(tiny.spec("qwen3_vl"), lora=SETTINGS)
    values = json.loads(json.dumps(dataclasses.asdict(spec)))
    found = read_spec(values | {"_target_": "os.system", "download": True})
    assert dataclasses.replace(found, lora=spec.lora) == spec and found.lora.rank == 4
    assert read_spec({key: value for key, value in values.items() if key != "published"}).published is None
    with pytest.raises(ConfigError, match=r"keys that no preset has: \['colour'\]"):
        read_spec(values | {"colour": "red"})
    with pytest.raises(ConfigError, match=r"model\.family=None is not known"):
        read_spec({})


# ---- the generation configuration


def test_plain_generate_says_what_the_rollout_says(policy, tmp_path):
    """Greedy, with the tokens that a policy never writes suppressed: token by token the same."""
    from transformers import AutoModelForImageTextToText

    from o3v.models.load import save_policy
    from o3v.rollout.sampler import Sampling

    sampling = Sampling(group_size=1, temperature=0.0, top_p=1.0, top_k=0, max_new_tokens=12, decoder="auto")
    save_policy(policy, tmp_path / "m", dataclasses.asdict(sampling))
    plain = AutoModelForImageTextToText.from_pretrained(tmp_path / "m", dtype=torch.float32).eval()
    for prompt in tiny.mixed_prompts(policy):
        encoded = policy.encode([prompt])
        wanted = sample_completions(policy, encoded, sampling, [0])
        with torch.no_grad():
            ids = plain.generate(**encoded.inputs())[0, encoded.input_ids.shape[1] :]
        row = wanted.ids[0][wanted.completion_mask[0]].tolist()
        assert ids.tolist() == row


def test_a_drawn_rollout_is_drawn_by_generate_too(policy):
    drawn = {"temperature": 0.7, "top_p": 0.9, "top_k": 5, "max_new_tokens": 33}
    found = generation_config(policy.processor.tokenizer, drawn | {"group_size": 8, "decoder": "auto"})
    assert {name: found[name] for name in drawn} == drawn and found["do_sample"] is True
    assert found["eos_token_id"][0] == policy.eos_id and found["pad_token_id"] == policy.pad_id
    assert set(found["suppress_tokens"]) == set(policy.banned_ids) - set(found["eos_token_id"])
    greedy = generation_config(policy.processor.tokenizer, drawn | {"temperature": 0.0})
    assert greedy["do_sample"] is False and greedy["temperature"] is None
    assert generation_config(policy.processor.tokenizer, None).keys() == {
        "eos_token_id",
        "pad_token_id",
        "suppress_tokens",
    }


def test_what_the_base_says_is_kept_where_no_rollout_is_known(policy, base, tmp_path):
    other = shutil.copytree(base, tmp_path / "base")
    (other / "generation_config.json").write_text(json.dumps({"repetition_penalty": 1.05, "temperature": 0.2}))
    write_weights(policy.model.state_dict(), other, tmp_path / "m", WHOLE)
    found = json.loads((tmp_path / "m" / "generation_config.json").read_text())
    assert found["repetition_penalty"] == 1.05 and found["temperature"] == 0.2
    assert found["eos_token_id"][0] == policy.eos_id
