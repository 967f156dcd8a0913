"""A run that one process began and two go on with, in batches as large as before: the same run."""

import shutil

import pytest
from safetensors.torch import load_file

from tests import tiny
from tests.commands import QUIET, SMALL, metrics, run, run_folder
from tests.test_resume import Stop, finished, stop_after

# 10 samples, 4 prompts a batch: epochs end inside of batches; the state after batch 6 is gone on from
STEPS = ("logger=jsonl", "trainer.batches=10", "trainer.save_every=3", "optim.warmup=0", *QUIET, *SMALL)
ONE = ("trainer.lightning.devices=1", "trainer.prompts_per_device=4")
TWO = ("trainer.lightning.devices=2", "trainer.prompts_per_device=2")


def largest_difference(one, other) -> float:
    weights, others = (load_file(run_folder(out, "train") / "model" / "model.safetensors") for out in (one, other))
    return max(float((weights[name] - others[name]).abs().max()) for name in weights)


@pytest.mark.slow
@pytest.mark.parametrize("grouping", [(), ("data.grouping.length_window=2", "data.grouping.same_modality=true")])
def test_two_processes_go_on_where_one_stopped(tmp_path, monkeypatch, grouping):
    base = tiny.saved_policy("qwen2_5_vl", tmp_path / "base")
    arguments = ("model=tiny_qwen2_5_vl", f"init_from={base}", *STEPS, *grouping)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    run("train", whole, *arguments, *ONE)
    shutil.copytree(whole / "data", cut / "data")
    with monkeypatch.context() as patch, pytest.raises(Stop):
        stop_after(8, patch)
        run("train", cut, *arguments, *ONE)
    text = finished(cut, *arguments, *TWO)
    assert "continuing from" in text and "batch 6 of 10" in text
    assert largest_difference(whole, cut) < 1e-5
    start = load_file(base / "model.safetensors")
    trained = load_file(run_folder(cut, "train") / "model" / "model.safetensors")
    assert max(float((trained[name] - start[name]).abs().max()) for name in start) > 1e-3
    counts = [
        {k: v for k, v in metrics(run_folder(out, "train")).items() if "train/data" in k[1]} for out in (whole, cut)
    ]
    assert counts[0] == counts[1] and (9, "train/data/STR_shapes") in counts[0]
