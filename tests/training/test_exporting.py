"""States of every engine become plain models that compute what the trained ones did; damage and foreign code do not."""

import dataclasses
import json
import os
import pickle
import shutil
import subprocess
import sys

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from o3v.errors import ConfigError, DataError
from o3v.models.lora import add_adapter
from o3v.models.weights import FolderSettings, write_weights
from o3v.training.checkpoints import find_checkpoint
from o3v.training.convert import model_names, read_checkpoint
from o3v.training.exporting import find_source, plain_weights, trained_adapters
from tests import tiny
from tests.training.made_states import LORA, SCALE

JOBS = {
    "fsdp2": ("distributed", "qwen2_5_vl", False),
    "fsdp2_lora": ("distributed", "qwen3_vl", True),
    "zero2_lora": ("deepspeed2", "qwen3_vl", True),
    "zero3": ("deepspeed3", "qwen2_5_vl", False),
    "zero3_lora": ("deepspeed3", "qwen2_5_vl", True),
}
KINDS = {"fsdp2": "distributed", "zero2": "deepspeed", "zero3": "deepspeed"}


pytestmark = pytest.mark.slow


def in_own_process(module, told):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", f"tests.training.{module}", str(told)]
    done = subprocess.run(command, cwd=tiny.CONF.parent, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr


def seal(state):
    """As `o3v.training.state` does: without it a folder counts as not whole."""
    sizes = {str(path.relative_to(state)): path.stat().st_size for path in state.rglob("*") if path.is_file()}
    place = {"batches_done": 2, "total_batches": 2}
    (state / "o3v.json").write_text(json.dumps({"place": place, "files": sizes}))


def run_folder(out, name, family, lora, scale=SCALE):
    """The folder of a run that started from a base beside it, without a state."""
    run = out / f"{name}-12345678"
    (run / "states").mkdir(parents=True)
    if not (out / family).is_dir():
        tiny.saved_policy(family, out / family, scale)
    spec = dataclasses.replace(tiny.spec(family, family, str(out)), lora=lora)
    (run / "config.yaml").write_text(yaml.safe_dump({"model": dataclasses.asdict(spec), "init_from": None}))
    return run


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """Name -> run with a state that its engine has written in one process; the weights as they were lie beside it."""
    pytest.importorskip("deepspeed")
    out = tmp_path_factory.mktemp("states")
    made, jobs = {}, []
    none = dataclasses.replace(LORA, rank=0)
    for name, (kind, family, has_lora) in JOBS.items():
        lora = dataclasses.replace(LORA if has_lora else none, target_modules=list(LORA.target_modules))
        made[name] = run_folder(out, name, family, lora)
        jobs.append({"kind": kind, "family": family, "lora": has_lora, "out": str(made[name] / "states" / "last.ckpt")})
    (out / "jobs.json").write_text(json.dumps(jobs))
    in_own_process("made_states", out / "jobs.json")
    for run in made.values():
        seal(run / "states" / "last.ckpt")
    return made


def live_policy(name, right):
    """The model as it was trained, adapters apart."""
    _, family, has_lora = JOBS[name]
    policy = tiny.random_policy(family, SCALE)
    if has_lora:
        add_adapter(policy, LORA)
    policy.model.load_state_dict(right)
    return policy


def logprobs(model, inputs):
    with torch.no_grad():
        return model(**inputs).logits.float().log_softmax(-1)


def plain_model(folder, dtype=torch.float32):
    """As somebody without this project loads it."""
    from transformers import AutoModelForImageTextToText

    return AutoModelForImageTextToText.from_pretrained(folder, dtype=dtype).eval()


def written(state, source, folder):
    write_weights(state, source.base, folder, FolderSettings("float32", 0.001, None, {}))
    return plain_model(folder)


@pytest.mark.parametrize("name", JOBS)
def test_a_plain_model_computes_what_the_trained_one_did(name, runs, tmp_path):
    right = load_file(runs[name] / "states" / "last.ckpt.safetensors")
    policy = live_policy(name, right)
    source = find_source(runs[name], None)
    assert source.checkpoint.kind == KINDS[name.partition("_")[0]] and source.checkpoint.run == runs[name]
    model = written(plain_weights(source), source, tmp_path / "model")
    inputs = policy.encode(tiny.mixed_prompts(policy)).inputs()
    wanted = logprobs(policy.model, inputs)
    assert float((logprobs(model, inputs) - wanted).abs().max()) < 1e-5
    begun = logprobs(plain_model(source.base), inputs)
    assert float((begun - wanted).abs().max()) > 0.1, "training changed nothing, so nothing was tested"


@pytest.mark.parametrize("name", JOBS)
def test_weights_are_read_to_the_last_bit(name, runs):
    right = load_file(runs[name] / "states" / "last.ckpt.safetensors")
    found = read_checkpoint(find_checkpoint(runs[name] / "states" / "last.ckpt"))
    assert found.keys() >= right.keys()
    assert all(torch.equal(found[key].detach(), value) for key, value in right.items())


@pytest.mark.parametrize(("wrong", "least"), [("scale", 0.01), ("merge", 0.01)])
def test_a_wrong_scale_or_a_forgotten_merge_is_caught(runs, tmp_path, wrong, least):
    name = "fsdp2_lora"
    policy = live_policy(name, load_file(runs[name] / "states" / "last.ckpt.safetensors"))
    source = find_source(runs[name], None)
    state = plain_weights(source)
    if wrong == "scale":
        spec = dataclasses.replace(source.spec, lora=dataclasses.replace(source.spec.lora, alpha=4))
        state = plain_weights(dataclasses.replace(source, spec=spec))
    else:
        held = read_checkpoint(source.checkpoint)
        state |= {key.replace(".base_layer", ""): value for key, value in held.items() if ".base_layer." in key}
    inputs = policy.encode(tiny.mixed_prompts(policy)).inputs()
    model = written(state, source, tmp_path / "model")
    assert float((logprobs(model, inputs) - logprobs(policy.model, inputs)).abs().max()) > least


def test_a_name_left_out_is_caught(runs, tmp_path):
    source = find_source(runs["fsdp2"], None)
    state = plain_weights(source)
    name = next(key for key in state if key.endswith("k_proj.bias"))
    with pytest.raises(DataError, match=rf"missing in the checkpoint: {name}"):
        write_weights(
            {k: v for k, v in state.items() if k != name},
            source.base,
            tmp_path / "m",
            FolderSettings("float32", 1, None, {}),
        )
    assert not (tmp_path / "m").exists()


def test_only_frozen_weights_are_taken_from_the_base(runs, tmp_path):
    """A file that holds the adapters alone is completed; one of a run that trains everything is not."""
    for name, key in (("fsdp2_lora", ".lora_"), ("fsdp2", "language_model")):
        run = shutil.copytree(runs[name], tmp_path / runs[name].name)
        held = read_checkpoint(find_checkpoint(run))
        shutil.rmtree(run / "states" / "last.ckpt")
        state = {f"model.{k}": v for k, v in held.items() if key in k}
        torch.save({"state_dict": state, "o3v": {"batches_done": 2}}, run / "states" / "last.ckpt")
    whole = plain_weights(find_source(runs["fsdp2_lora"], None))
    found = plain_weights(find_source(tmp_path / runs["fsdp2_lora"].name, None))
    assert found.keys() == whole.keys() and all(torch.equal(found[k], whole[k]) for k in whole)
    with pytest.raises(DataError, match=r"missing in the checkpoint: model\.visual\."):
        plain_weights(find_source(tmp_path / runs["fsdp2"].name, None))


def test_adapters_alone(runs):
    found = trained_adapters(find_source(runs["zero2_lora"], None))
    right = load_file(runs["zero2_lora"] / "states" / "last.ckpt.safetensors")
    assert found.keys() == {key for key in right if ".lora_" in key}


# ---- states of the project's own ZeRO strategy: float32 stretches in safetensors


def parts_of(whole, folder, processes):
    """A state as `o3v.training.zero_state` writes it, the weights spread by hand."""
    folder.mkdir(parents=True)
    torch.save({"o3v": {}}, folder / "meta.pt")
    for rank in range(processes):
        tensors, about = {}, {}
        for name, value in whole.items():
            flat = value.reshape(-1)
            start, end = len(flat) * rank // processes, len(flat) * (rank + 1) // processes
            tensors[f"model.{name}|master"] = flat[start:end].clone()
            about[f"model.{name}"] = {"shape": list(value.shape), "start": start, "numel": end - start, "step": 2.0}
        save_file(tensors, folder / f"part-{rank:05d}-000.safetensors", metadata={"stretches": json.dumps(about)})
    return folder


@pytest.mark.parametrize("processes", [1, 3])
def test_stretches_are_put_together(processes, tmp_path):
    whole = {"a.weight": torch.randn(5, 3), "b.bias": torch.randn(2), "c": torch.randn(7)}
    folder = parts_of(whole, tmp_path / "last.ckpt", processes)
    found = read_checkpoint(find_checkpoint(folder))
    assert found.keys() == whole.keys() and all(torch.equal(found[name], whole[name]) for name in whole)
    if processes > 1:
        (folder / "part-00001-000.safetensors").unlink()
        with pytest.raises(DataError, match=r"has 10 of the 15 numbers of model\.a\.weight; a file is missing"):
            read_checkpoint(find_checkpoint(folder))


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("layout", ["zero2", "zero3"])
def test_two_processes_of_zero(layout, lora, tmp_path):
    pytest.importorskip("deepspeed")
    family = "qwen2_5_vl"
    settings = dataclasses.replace(
        LORA, rank=2 if lora else 0, alpha=4, target_modules=["q_proj", "v_proj", "down_proj"]
    )
    run = run_folder(tmp_path, layout, family, settings, scale=2.0)
    state = run / "states" / "last.ckpt"
    told = {
        "layout": layout,
        "processes": 2,
        "steps": 2,
        "save_at": 2,
        "state": str(state),
        "out": str(tmp_path / "o.pt"),
    }
    (tmp_path / "told.json").write_text(json.dumps(told | {"lora": lora, "family": family}))
    in_own_process("zero_run", tmp_path / "told.json")
    right = torch.load(tmp_path / "o.pt", weights_only=True)["state"]
    policy = tiny.random_policy(family)
    if lora:
        add_adapter(policy, settings)
    policy.model.load_state_dict(right)
    source = find_source(state, None)
    assert source.checkpoint.kind == "parts"
    inputs = policy.encode(tiny.mixed_prompts(policy)).inputs()
    model = written(plain_weights(source), source, tmp_path / "model")
    assert float((logprobs(model, inputs) - logprobs(policy.model, inputs)).abs().max()) < 1e-5


# ---- what cannot be exported


class Foreign:
    """Would create a file where it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_what_a_file_would_execute_is_refused(runs, tmp_path):
    trap = tmp_path / "executed"
    fsdp = shutil.copytree(runs["fsdp2"] / "states" / "last.ckpt", tmp_path / "fsdp.ckpt")
    (fsdp / ".metadata").write_bytes(pickle.dumps(Foreign(trap)))
    zero = shutil.copytree(runs["zero3"] / "states" / "last.ckpt", tmp_path / "zero.ckpt")
    torch.save({"module": {}, "x": Foreign(trap)}, next(zero.glob("*/*_model_states.pt")))
    file = tmp_path / "file.ckpt"
    torch.save({"state_dict": {}, "x": Foreign(trap)}, file)
    for state in (fsdp, zero, file):
        with pytest.raises(DataError, match="cannot be read"):
            read_checkpoint(find_checkpoint(state))
    assert not trap.exists() and "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


@pytest.mark.parametrize("name", ["fsdp2", "zero3"])
def test_a_damaged_state_is_told(runs, tmp_path, name):
    state = shutil.copytree(runs[name] / "states" / "last.ckpt", tmp_path / "last.ckpt")
    victim = max((path for path in state.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    victim.write_bytes(victim.read_bytes()[: victim.stat().st_size // 2])
    with pytest.raises(DataError, match=r"last\.ckpt: the checkpoint cannot be read"):
        read_checkpoint(find_checkpoint(state))


def test_what_is_no_checkpoint(tmp_path):
    (tmp_path / "note.txt").write_text("nothing")
    for path, said in (
        (tmp_path / "gone", "no such file"),
        (tmp_path, "known kind"),
        (tmp_path / "note.txt", "known kind"),
    ):
        with pytest.raises(ConfigError, match=rf"checkpoint={path}.*{said}"):
            find_checkpoint(path)
    run = run_folder(tmp_path, "empty", "qwen2_5_vl", dataclasses.replace(LORA, rank=0, target_modules=[]))
    with pytest.raises(DataError, match="has no state that can be read"):
        find_checkpoint(run)


def test_a_state_without_its_run_or_base(runs, tmp_path):
    lonely = shutil.copytree(runs["fsdp2"] / "states" / "last.ckpt", tmp_path / "last.ckpt")
    with pytest.raises(ConfigError, match=r"no config\.yaml"):
        find_source(lonely, None)
    run = shutil.copytree(runs["fsdp2"], tmp_path / "run-1")
    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump(config | {"init_from": "outputs/sft-gone"}))
    with pytest.raises(ConfigError, match=r"init_from=outputs/sft-gone.*base=FOLDER"):
        find_source(run, None)
    assert find_source(run, find_source(runs["fsdp2"], None).base).base.name == "qwen2_5_vl"
    (tmp_path / "sft-gone").symlink_to(find_source(runs["fsdp2"], None).base)
    assert find_source(run, None).base == tmp_path / "sft-gone", "runs that have moved together find each other"


def test_names_of_another_module_are_refused():
    with pytest.raises(DataError, match=r"optimizer\.step: is no weight"):
        model_names({"model.a": torch.ones(1), "optimizer.step": torch.ones(1)})
    with pytest.raises(DataError, match="an empty state"):
        model_names({})
