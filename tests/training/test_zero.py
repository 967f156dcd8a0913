"""ZeRO on two processes against one plain process."""

from __future__ import annotations

import json
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

pytest.importorskip("deepspeed")

LAYOUTS = ("zero2", "zero3", "zero3_offload")


def finished(folder: Path, name: str, **told: Any) -> dict[str, Any]:
    """What a run of `tests.training.zero_run` has found."""
    out = folder / f"{name}.pt"
    told = {"steps": 5, "processes": 2, "out": str(out)} | told
    (folder / f"{name}.json").write_text(json.dumps(told))
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.training.zero_run", str(folder / f"{name}.json")],
        cwd=tiny.CONF.parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return torch.load(out, weights_only=True)


def farthest(a: dict[str, Any], b: dict[str, Any]) -> float:
    """The largest difference of two runs' weights."""
    assert a["state"].keys() == b["state"].keys()
    return max(float((a["state"][name].float() - b["state"][name].float()).abs().max()) for name in a["state"])


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Updates of one plain process, made once for each kind of model."""
    made: dict[str, dict[str, Any]] = {}

    def run(**told: Any) -> dict[str, Any]:
        key = json.dumps(told, sort_keys=True)
        if key not in made:
            made[key] = finished(tmp_path_factory.mktemp("plain"), "plain", **told)
        return made[key]

    return run


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_two_processes_are_one(tmp_path, plain, layout):
    """Same global batch, two backward passes an update, clipping active: same weights after 5 updates."""
    found, expected = finished(tmp_path, layout, layout=layout), plain()
    assert farthest(found, expected) < 1e-5
    assert found["norms"] == pytest.approx(expected["norms"], rel=1e-4)


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
