"""ZeRO on two processes against one plain process, on tiny models of the real classes.

Every run is a command of its own (`tests.training.zero_run`), with two backward passes an update and clipping active.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from o3v.errors import ConfigError
from o3v.training.zero import zero_strategy
from tests import tiny
from tests.training.zero_run import train_plain

pytest.importorskip("deepspeed")

LAYOUTS = ("zero2", "zero3", "zero3_offload")
UNTIED = {"untied": True, "checkpointing": True, "family": "qwen3_vl"}


def run(folder: Path, name: str, *, script: str = "zero_run", **told: Any) -> subprocess.CompletedProcess[str]:
    """Start a script with what it is told, and wait for it."""
    told = {"steps": 5, "processes": 2, "out": str(folder / f"{name}.pt")} | told
    (folder / f"{name}.json").write_text(json.dumps(told))
    command = [sys.executable, "-m", f"tests.training.{script}", str(folder / f"{name}.json")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, cwd=tiny.CONF.parent, env=environment, capture_output=True, text=True, timeout=240, check=False
    )


def finished(folder: Path, name: str, **told: Any) -> dict[str, Any]:
    """What a run has found."""
    done = run(folder, name, **told)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = torch.load(folder / f"{name}.pt", weights_only=True)
    return found


def plain(**told: Any) -> dict[str, Any]:
    """The same updates by one plain process."""
    return train_plain({"steps": 5} | told)


def farthest(a: dict[str, Any], b: dict[str, Any], key: str = "state") -> float:
    """The largest difference of two runs' weights."""
    assert a[key].keys() == b["state"].keys()
    return max(float((a[key][name].float() - b["state"][name].float()).abs().max()) for name in b["state"])


def mean_distance(a: dict[str, Any], b: dict[str, Any]) -> float:
    """Mean difference of two runs' weights."""
    numbers = sum(value.numel() for value in b["state"].values())
    return sum(float((a["state"][name].float() - b["state"][name]).abs().sum()) for name in b["state"]) / numbers


def test_one_process_is_a_plain_one(tmp_path):
    """Stage 3 with every weight in its care."""
    found, expected = finished(tmp_path, "one", layout="zero3", processes=1, steps=2), plain(steps=2)
    assert farthest(found, expected) < 1e-5
    assert found["norms"] == pytest.approx(expected["norms"], rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layout", "model"), [*((layout, {}) for layout in LAYOUTS), ("zero2", {"lora": True}), ("zero3", {"lora": True})]
)
def test_two_processes_are_one(tmp_path, layout, model):
    """Same global batch: same weights and the same gradient norms."""
    found, expected = finished(tmp_path, layout, layout=layout, **model), plain(**model)
    assert farthest(found, expected) < 1e-5
    assert found["norms"] == pytest.approx(expected["norms"], rel=1e-4)
    assert min(found["norms"]) > 1.0 or model  # else nothing is clipped
    if model:
        start = plain(steps=0, **model)
        changed = {name for name in start["state"] if not torch.equal(start["state"][name], found["state"][name])}
        assert changed and all(".lora_" in name for name in changed)


@pytest.mark.slow
def test_head_of_its_own_and_checkpointing(tmp_path):
    """A head that is not the embedding is gathered too, and again where activations are computed again."""
    found, expected = finished(tmp_path, "untied", layout="zero3", **UNTIED), plain(**UNTIED)
    assert farthest(found, expected) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["zero2", "zero3_offload"])
def test_no_step_need_be_like_another(tmp_path, layout):
    """Passes without gradients, several before a backward pass, weights that get no gradient in a part or a step."""
    found, expected = finished(tmp_path, layout, layout=layout, irregular=True), plain(irregular=True)
    assert farthest(found, expected) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["zero2", "zero3_offload"])
def test_an_infinite_gradient_of_one_process_is_left_out_by_all(tmp_path, layout):
    """Its norm is told as infinite, and the updates after it are as if it had never been."""
    found, expected = finished(tmp_path, layout, layout=layout, explodes_at=2), plain(explodes_at=2)
    assert [math.isinf(norm) for norm in found["norms"]] == [False, False, True, False, False]
    assert farthest(found, expected) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["zero2", "zero3_offload"])
def test_bfloat16_has_float32_masters(tmp_path, layout):
    """Weights end nearer to those of a float32 run than where updates are added to weights of 8 bits."""
    found, expected = finished(tmp_path, layout, layout=layout, dtype="bfloat16"), plain()
    assert {value.dtype for value in found["state"].values()} == {torch.bfloat16}
    assert mean_distance(found, expected) < 0.7 * mean_distance(plain(dtype="bfloat16"), expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mutant", "told"),
    [
        ("_forget_gradients", {"layout": "zero3_offload", "irregular": True}),
        ("none", {"layout": "zero2", "max_norm": 9}),
    ],
    ids=["stale gradients", "other clipping"],
)
def test_mutants_are_caught(tmp_path, mutant, told):
    """Gradients of the update before, and another norm, make weights that differ."""
    found = finished(tmp_path, "mutant", mutant=mutant, **told)
    assert farthest(found, plain(irregular=told.get("irregular", False))) > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["zero2", "zero3"])
def test_rollouts_references_and_exports(tmp_path, layout):
    """Collectives of a rollout do not grow with its tokens; weights, draws and a frozen model are those of one process.

    After nested blocks and an error in one, training goes on with the same numbers.
    """
    found, expected = finished(tmp_path, layout, script="zero_gather_run", layout=layout), plain()
    few, more, most = found["counts"]
    assert few == more == most and (few > 0) == (layout != "zero2")
    assert found["inside"] == 0
    assert found["nested_whole"] > 0 and (found["after_numel"] == 0) == (layout != "zero2")
    assert torch.equal(found["ids"], found["ids_again"])
    assert farthest(found, expected) < 1e-5
    assert farthest(found, plain(steps=2), "middle") < 1e-5
    assert (found["reference_kept"] == 0) == (layout != "zero2")
    assert torch.allclose(found["reference"], found["expected"], atol=1e-6)
    assert torch.equal(found["reference"], found["reference_again"])


def test_what_cannot_be_is_told():
    """Before anything is started."""
    with pytest.raises(ConfigError, match="stage 4"):
        zero_strategy(4, False, 1.0, "float32", "cpu")
    with pytest.raises(ConfigError, match="offloaded"):
        zero_strategy(2, True, 1.0, "float32", "cpu")
    with pytest.raises(ConfigError, match="float16"):
        zero_strategy(3, False, 1.0, "float16", "cpu")


def test_missing_deepspeed_is_told(monkeypatch):
    """The message names the extra."""
    monkeypatch.setattr("o3v.training.zero.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"pip install -e '\.\[deepspeed\]'"):
        zero_strategy(2, False, 1.0, "float32", "cpu")
