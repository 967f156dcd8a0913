"""Published sizes: counts on the meta device, where weights are looked for, what may be downloaded, which kernels."""

from dataclasses import replace

import pytest

from o3v.errors import ConfigError, StorageError
from o3v.models import availability
from o3v.models.meta import meta_config, meta_model, published_config
from o3v.models.published import find_published, published_names
from tests import tiny


def counted(model):
    return {
        "total": sum(p.numel() for p in model.parameters()),
        "vision": sum(p.numel() for p in model.model.visual.parameters()),
        "language": sum(p.numel() for p in model.model.language_model.parameters()),
    }


@pytest.mark.parametrize("name", published_names())
def test_sizes_give_the_published_number_of_parameters(name):
    found = find_published(name)
    model = meta_model(published_config(find_published(name)), "bfloat16")
    assert counted(model) == found.parameters
    assert {p.device.type for p in model.parameters()} == {"meta"}
    tied = model.lm_head.weight is model.get_input_embeddings().weight
    assert tied == found.tie_word_embeddings
    head = 0 if tied else found.text["vocab_size"] * found.text["hidden_size"]
    assert found.parameters["total"] == found.parameters["vision"] + found.parameters["language"] + head


def test_a_wrong_size_would_be_seen():
    """Mutant: the head of the 3B model not tied."""
    right = find_published("qwen2_5_vl_3b")
    wrong = replace(right, tie_word_embeddings=False)
    assert counted(meta_model(published_config(wrong), "bfloat16")) != right.parameters


def test_sizes_of_a_preset_without_a_published_name():
    tiny_config = meta_config(tiny.spec("qwen3_vl", "tiny_qwen3_vl"), 1)  # its folder ships with the project
    assert tiny_config.text_config.vocab_size > 100
    inline = meta_config(tiny.spec("qwen3_vl"), 777)
    assert inline.text_config.vocab_size == 777 and inline.vision_config.patch_size == 16
    with pytest.raises(ConfigError, match=r"no config\.json found"):
        meta_config(replace(tiny.spec("qwen3_vl"), architecture=None), 1)


def preset(**changes):
    return replace(tiny.spec("qwen2_5_vl"), **{"published": "qwen2_5_vl_7b", "architecture": None} | changes)


def test_a_missing_weight_names_every_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(ConfigError) as error:
        preset(root=str(tmp_path / "root"), path="Qwen2.5-VL-7B-Instruct").find()
    for place in ("root/Qwen2.5-VL-7B-Instruct", "hub/models--Qwen--Qwen2.5-VL-7B-Instruct/snapshots"):
        assert str(tmp_path / place) in str(error.value)
    assert "model.download=true" in str(error.value)


def test_weights_in_the_cache_of_hugging_face_are_found_and_unfinished_ones_are_not(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    snapshot = tmp_path / "models--Qwen--Qwen2.5-VL-7B-Instruct/snapshots/abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    with pytest.raises(ConfigError):
        preset().find()
    (snapshot / "model-00001-of-00005.safetensors").write_bytes(b"")
    assert preset().find() == snapshot
    own = tmp_path / "root/here"
    own.mkdir(parents=True)
    (own / "config.json").write_text("{}")
    assert preset(root=str(tmp_path / "root"), path="here").find() == own  # the folder comes first


def test_nothing_is_downloaded_under_hf_hub_offline(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ConfigError, match="HF_HUB_OFFLINE is set"):
        preset(download=True).find()


def test_a_download_that_fails_says_so(tmp_path, monkeypatch):
    """The hub's own client against a port on which nobody listens."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # the library's own word for no network
    with pytest.raises(StorageError, match=r"Qwen/Qwen2\.5-VL-7B-Instruct cannot be fetched"):
        preset(download=True).find()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"published": "qwen9"}, r"model\.published='qwen9' is not known"),
        ({"published": "qwen3_vl_8b"}, "is no qwen2_5_vl"),
        ({"published": None, "download": True}, "nothing to fetch it by"),
        ({"quantization": "int2"}, r"model\.quantization='int2' is not allowed; allowed are null and nf4"),
        ({"quantization": "nf4"}, r"model\.lora\.rank"),
    ],
)
def test_what_a_preset_cannot_be(changes, message):
    with pytest.raises(ConfigError, match=message):
        preset(**changes)


def test_four_bits_without_bitsandbytes_is_told_at_once():
    if availability.find_spec("bitsandbytes") is not None:
        pytest.skip("bitsandbytes is installed")
    lora = replace(tiny.spec("qwen2_5_vl").lora, rank=4)
    with pytest.raises(ConfigError, match=r"needs bitsandbytes.*\.\[qlora\]"):
        preset(quantization="nf4", lora=lora).check(None)


def test_auto_attention_falls_back_and_the_name_itself_does_not(monkeypatch, caplog):
    availability._tell.cache_clear()
    monkeypatch.setattr(availability, "flash_missing", lambda: "no reason")
    with caplog.at_level("INFO"):
        assert availability.attention_for("auto") == "sdpa"
    assert "no reason" in caplog.text
    assert availability.attention_for("eager") == "eager"
    with pytest.raises(ConfigError, match="no reason; allowed here are auto and sdpa"):
        availability.attention_for("flash_attention_2")
    monkeypatch.setattr(availability, "flash_missing", lambda: None)
    assert availability.attention_for("auto") == "flash_attention_2"


def test_here_the_reason_is_a_true_one():
    import torch

    if torch.cuda.is_available():
        pytest.skip("a GPU is there")
    assert availability.flash_missing() in ("the package flash_attn is not installed", "no GPU is visible")
