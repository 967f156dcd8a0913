"""Processes whose prompts differ in kind and number: they must not wait for each other, and learn what one would."""

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from tests import tiny

BATCHES = [
    ["text", "text", "image", "clip"],  # no pictures in the first process
    ["video", "clip", "text", "text"],  # two kinds of media in the first, none in the second
    ["clip", "image", "video", "text"],
    ["gone", "gone", "image", "text"],  # nothing to read in the first
]
WHOLE = [kinds for kinds in BATCHES if "gone" not in kinds]


def fitted(folder, **job):
    """Weights and metrics of the first process."""
    folder.mkdir(parents=True)
    job |= {"out": str(folder / "weights.safetensors"), "states": str(folder / "states")}
    (folder / "job.json").write_text(json.dumps(job))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(tiny.CONF.parent)}
    done = subprocess.run(
        [sys.executable, "-m", "tests.training.layout_run", str(folder / "job.json")],
        cwd=tiny.CONF.parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return load_file(job["out"]), torch.load(job["out"] + ".metrics", weights_only=True)


def difference(one, two) -> float:
    return max(float((one[name] - two[name]).abs().max()) for name in two)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """(family, objective) -> the fit of one process."""
    found = {}

    def fit_of(**job):
        key = json.dumps(job)
        if key not in found:
            found[key] = fitted(tmp_path_factory.mktemp("alone") / "run", layout="ddp", processes=1, **job)
        return found[key]

    return fit_of


FIRST = tiny.FAMILIES[0]
SPREAD = [(layout, family) for layout in ("fsdp2", "zero3") for family in tiny.FAMILIES]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layout", "family", "objective"),
    [(*pair, "gspo") for pair in (*SPREAD, ("ddp", FIRST), ("zero2", FIRST))]
    + [(layout, FIRST, "sft") for layout in ("ddp", "fsdp2", "zero2", "zero3")],
)
def test_processes_with_other_kinds_of_prompts_stay_in_step(tmp_path, alone, layout, family, objective):
    """With GSPO text prompts teach nothing, so the processes also differ in passes and updates."""
    job = {"family": family, "objective": objective, "batches": WHOLE, "old_logprobs": "recompute"}
    weights, metrics = fitted(tmp_path / "two", layout=layout, processes=2, **job)
    wanted, recorded = alone(**job)
    assert len(metrics) == len(WHOLE) and difference(weights, wanted) < 1e-5
    for step, values in metrics.items():
        if "grad_norm" in values:
            assert values["grad_norm"] == pytest.approx(recorded[step]["grad_norm"], rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layout", "objective"),
    [("fsdp2", "sft"), ("fsdp2", "gspo"), ("zero3", "sft"), ("zero3", "gspo"), ("zero2", "gspo"), ("ddp", "gspo")],
)
def test_a_process_that_can_read_nothing_keeps_nobody_waiting(tmp_path, layout, objective):
    job = {"objective": objective, "batches": BATCHES[2:], "tower": False}
    weights, metrics = fitted(tmp_path / "two", layout=layout, processes=2, **job)
    start = tiny.random_policy("qwen2_5_vl", 1.5).model.state_dict()
    assert len(metrics) == 2 and difference(weights, dict(start)) > 1e-5


SAME = [["clip", "clip"]] * 2


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["fsdp2", "zero3"])
def test_a_rollout_asks_nothing_of_other_processes_once_weights_are_gathered(tmp_path, layout):
    job = {"layout": layout, "processes": 2, "objective": "gspo", "batches": SAME, "counts": True}
    fitted(tmp_path / "two", **job)
    assert json.loads((tmp_path / "two" / "weights.safetensors.counts").read_text()) == [0, 0]


@pytest.mark.slow
def test_a_rollout_that_gathers_every_token_is_caught(tmp_path):
    job = {"layout": "fsdp2", "processes": 2, "objective": "gspo", "batches": SAME, "counts": True, "forgets": True}
    fitted(tmp_path / "two", **job)
    assert min(json.loads((tmp_path / "two" / "weights.safetensors.counts").read_text())) > 20


@pytest.mark.slow
def test_fsdp2_keeps_float32_weights_of_a_model_that_computes_in_half_precision(tmp_path):
    """Steps of 1e-4 are lost in most bfloat16 weights; here every weight that learns is found between its numbers."""
    job = {"layout": "fsdp2", "processes": 2, "objective": "sft", "batches": SAME, "dtype": "bfloat16"}
    weights, metrics = fitted(tmp_path / "two", **job)
    matrices = {name: weight for name, weight in weights.items() if weight.ndim > 1}
    assert all(weight.dtype == torch.float32 for weight in weights.values())
    between = {name: bool((weight.bfloat16().float() != weight).any()) for name, weight in matrices.items()}
    assert all(between.values()) and len(metrics) == len(SAME)
