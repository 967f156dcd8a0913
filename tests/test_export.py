"""python -m o3v.export: every checkpoint of a run becomes the same plain model, with a card that loads it."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
import torch
import yaml
from safetensors.torch import load_file

from o3v.errors import ConfigError, DataError
from o3v.models.weights import read_weights
from o3v.training.export_card import final_files
from tests import commands, tiny
from tests.commands import QUIET, SMALL, run_folder
from tests.test_resume import Stop, stop_after

STEPS = ("trainer.batches=3", "trainer.prompts_per_device=2", "trainer.save_every=2", "optim.warmup=0", "optim.lr=0.01")
COMMON = ("logger=jsonl", *QUIET, *SMALL, *STEPS)
ADAPTER = ("model.lora.rank=4", "model.lora.alpha=8", "model.lora.target_modules=[q_proj, v_proj, down_proj]")


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """A finished run with its evaluation, a finished one with adapters, and one that was stopped after two batches."""
    out = tmp_path_factory.mktemp("export")
    base = tiny.saved_policy("qwen2_5_vl", out / "base")
    begun = f"init_from={base}"
    commands.run("train", out, *COMMON, begun, "name=whole")
    commands.run("train", out, *COMMON, begun, "name=lora", *ADAPTER)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stop):
        stop_after(3, patch)  # the state is that of batch 2
        commands.run("train", out, *COMMON, begun, "name=part")
    whole = run_folder(out, "whole")
    commands.run("evaluate", out, f"checkpoint={whole}", "benchmark.n_per_task=2", "logger=none", *QUIET, *SMALL[1:])
    return out


def export(out, checkpoint, name, *overrides):
    """Folder of an export."""
    target = out / "exported" / name
    commands.run("export", out, f"checkpoint={checkpoint}", f"out={target}", *overrides)
    return target


def weights_of(folder):
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        found |= load_file(path)
    return found


def same(one, two):
    a, b = weights_of(one), weights_of(two)
    return a.keys() == b.keys() and len(a) > 50 and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("place", ["", "states/last.ckpt", "model"])
@pytest.mark.parametrize("name", ["whole", "lora"])
def test_every_checkpoint_of_a_finished_run_is_its_exported_model(out, name, place):
    run = run_folder(out, name)
    found = export(out, run / place, f"{name}-{place.replace('/', '-')}-out", "max_shard_gb=0.001")
    assert same(found, run / "model") and len(list(found.glob("model-*.safetensors"))) > 2
    for file in ("config.json", "tokenizer.json", "chat_template.jinja", "processor_config.json"):
        assert json.loads((found / file).read_text()) if file.endswith("json") else (found / file).read_text()
    assert yaml.safe_load((found / "training.yaml").read_text()) == yaml.safe_load((run / "config.yaml").read_text())


def test_an_unfinished_run_is_its_newest_state(out):
    run = run_folder(out, "part")
    found = export(out, run, "part-out")
    state = torch.load(run / "states" / "last.ckpt", weights_only=True)["state_dict"]
    written = read_weights(found)
    assert {f"model.{name}" for name in written} == state.keys()
    assert all(torch.equal(state[f"model.{name}"], value) for name, value in written.items())
    record = json.loads((found / "training.json").read_text())
    assert record["progress"] == "after batch 2 of 3" and record["scores"] == [] and not record["finished"]
    assert not same(found, out / "base")


def test_another_number_type(out):
    found = export(out, run_folder(out, "whole") / "states/last.ckpt", "half", "dtype=bfloat16")
    whole = weights_of(run_folder(out, "whole") / "model")
    assert all(torch.equal(value, whole[name].bfloat16()) for name, value in weights_of(found).items())


def test_adapters_alone_are_loaded_by_peft(out):
    from peft import PeftModel
    from transformers import AutoModelForImageTextToText

    run = run_folder(out, "lora")
    found = export(out, run / "states/last.ckpt", "adapter", "adapter_only=true")
    about = json.loads((found / "adapter_config.json").read_text())
    assert about["base_model_name_or_path"] == str(out / "base") and about["r"] == 4 and about["lora_alpha"] == 8
    base = AutoModelForImageTextToText.from_pretrained(about["base_model_name_or_path"], dtype=torch.float32)
    merged = AutoModelForImageTextToText.from_pretrained(run / "model", dtype=torch.float32)
    policy = tiny.random_policy("qwen2_5_vl")
    inputs = policy.encode(tiny.mixed_prompts(policy)).inputs()
    with torch.no_grad():
        wanted, begun = merged(**inputs).logits.log_softmax(-1), base(**inputs).logits.log_softmax(-1)
        logprobs = PeftModel.from_pretrained(base, found)(**inputs).logits.log_softmax(-1)
    assert float((logprobs - wanted).abs().max()) < 1e-5 < float((begun - wanted).abs().max())
    assert "library_name: peft" in (found / "README.md").read_text()


# ---- the card


@pytest.fixture(scope="module")
def card(out):
    return export(out, run_folder(out, "whole"), "carded", "license=apache-2.0") / "README.md"


def test_the_card_tells_settings_data_and_scores(out, card):
    text = card.read_text()
    front = yaml.safe_load(text.split("---")[1])
    assert front["library_name"] == "transformers" and front["license"] == "apache-2.0"
    run = run_folder(out, "whole")
    record = json.loads((card.parent / "training.json").read_text())
    assert record["run"] == run.name and record["progress"] == "the end of the run"
    assert sum(one["share"] for one in record["mix"]["source"].values()) == pytest.approx(1)
    assert sum(one["samples"] for one in record["mix"]["task"].values()) == 3 * 2
    (score,) = record["scores"]
    report = json.loads((out / score["folder"] / "report.json").read_text())["results"][score["label"]]
    for name, one in score["columns"].items():
        assert (one["value"], one["low"], one["high"]) == tuple(report[name][key] for key in ("value", "low", "high"))
    total = score["columns"]["reward/total"]
    assert f"| reward/total | {total['value']:.3f} | {total['low']:.3f} to {total['high']:.3f} |" in text


def test_the_card_of_a_run_that_is_ending(out, card):
    """Before its model is written: what an export says later, but for scores, which nobody has yet."""
    run = shutil.copytree(run_folder(out, "whole"), out / "ending" / run_folder(out, "whole").name)
    shutil.rmtree(run / "model")
    (run / "DONE.json").unlink()
    found = final_files(run)
    later, record = json.loads((card.parent / "training.json").read_text()), json.loads(found["training.json"])
    unknown = {"scores": [], "result": {}, "license": "apache-2.0"}
    assert record | {"license": "apache-2.0"} == later | unknown
    assert found["training.yaml"] == (card.parent / "training.yaml").read_text()
    assert found["README.md"].startswith("---\n")


def test_what_the_card_says_of_loading_runs(card):
    """In a process without this project, in the folder itself."""
    (code,) = re.findall(r"```python\n(.*?)```", card.read_text(), re.DOTALL)
    guard = (
        "\nimport sys\nassert not [name for name in sys.modules if name.split('.')[0] == 'o3v']\nprint(repr(answer))\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code + guard], cwd=card.parent, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_an_exported_folder_is_exported_again_with_its_card(out, card):
    again = export(out, card.parent, "again")
    assert same(again, card.parent)
    (again / "config.json").write_text(json.dumps({"model_type": "qwen2_5_vl"}))
    export(out, card.parent, "again", "again=true")
    assert (again / "config.json").read_text() == (card.parent / "config.json").read_text()
    for file in ("README.md", "training.yaml"):
        assert (again / file).read_text() == (card.parent / file).read_text()
    records = [json.loads((folder / "training.json").read_text()) for folder in (again, card.parent)]
    assert records[0] == records[1]


def test_a_record_that_is_none_is_told(out, tmp_path):
    base = shutil.copytree(out / "base", tmp_path / "base")
    (base / "training.json").write_text('{"mix": {"source": [1]}}')
    with pytest.raises(DataError, match=r"base/training\.json: is no record of a model"):
        export(out, base, "broken")


def test_a_plain_folder_of_unknown_origin(out):
    found = export(out, out / "base", "unknown")
    assert same(found, out / "base") and not (found / "training.yaml").exists()
    assert "license: unknown" in (found / "README.md").read_text()


# ---- refused


@pytest.mark.parametrize(
    ("checkpoint", "target", "overrides", "said"),
    [
        ("whole", "base", (), r"out=.*base: is there already; again=true"),
        ("whole", "data/../base", ("again=false",), "is there already"),
        ("base", "base", ("again=true",), "is, holds or is a part of the checkpoint itself"),
        ("base", ".", ("again=true",), "is, holds or is a part"),
        ("whole", "whole", ("again=true",), "is, holds or is a part"),
        ("whole", "part", ("again=true",), "is no exported folder, so it is not replaced"),
        ("nothing", "new", (), "no such file or folder"),
        ("whole", "new", ("dtype=int8",), "dtype='int8' is not allowed"),
        ("whole", "new", ("max_shard_gb=0",), "max_shard_gb=0"),
        ("whole", "new", ("adapter_only=true",), r"run without adapters \(model\.lora\.rank=0\)"),
        ("part", "new", ("base=elsewhere",), "elsewhere: no model there"),
    ],
)
def test_what_is_refused(out, checkpoint, target, overrides, said):
    before = sorted(out.rglob("*"))
    name = {key: run_folder(out, key).name for key in ("whole", "part")}
    places = f"checkpoint={out / name.get(checkpoint, checkpoint)}", f"out={out / name.get(target, target)}"
    with pytest.raises(ConfigError, match=said):
        commands.run("export", out, *places, *overrides)
    assert sorted(out.rglob("*")) == before


def test_adapters_under_a_configuration_without_them_are_told(out, tmp_path):
    run = tmp_path / "lora-1"
    (run / "states").mkdir(parents=True)
    os.link(run_folder(out, "lora") / "states" / "last.ckpt", run / "states" / "last.ckpt")
    config = yaml.safe_load((run_folder(out, "lora") / "config.yaml").read_text())
    config["model"]["lora"]["rank"] = 0
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(DataError, match=r"has adapters, and the run's configuration has model\.lora\.rank=0"):
        export(out, run, "new")


def test_as_a_process_with_an_exit_code(out):
    process = commands.start("export", out, f"checkpoint={out / 'gone'}", f"out={out / 'new'}")
    text, _ = process.communicate(timeout=120)
    assert process.returncode == 2 and "no such file or folder" in text and "Traceback" not in text
