"""The command: its words, its mistakes, and one small measurement from configuration to file."""

import json
import os
import subprocess
import sys

import pytest

from tests.measure.cases import TINY
from tests.tiny import CONF


def run(*words, timeout=250):
    return subprocess.run(
        [sys.executable, "-m", "o3v.bench", *words],
        cwd=CONF.parent,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def test_the_help_names_what_can_be_measured():
    done = run("--help")
    assert done.returncode == 0
    assert "python -m o3v.bench step --help" in done.stdout


def test_a_measurements_own_help():
    done = run("step", "--help")
    assert done.returncode == 0
    assert "prompt_pass=split" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["stp"], "did you mean 'step'?"),
        (["step", "promt=5"], "did you mean 'prompt'?"),
        (["step", "gates.qwen3_vl.dtyp=float32"], "gates.qwen3_vl"),
        (["step", "arms=[shard]"], "allowed are ['shared', 'dense', 'trl']"),
        (["step", "steps=0"], "steps=0 must be at least 1"),
    ],
)
def test_a_mistake_stops_the_command_with_one_message(words, said):
    done = run(*words)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_small_measurement_from_command_to_file(tmp_path):
    done = run("step", *TINY, "arms=[shared,dense]", "repeats=2", f"out={tmp_path}")
    assert done.returncode == 0, done.stderr
    (case,) = json.loads((tmp_path / "results.json").read_text())["cases"].values()
    assert case["arms"]["shared"]["processes"] == 2
    assert case["arms"]["shared"]["counts"]["vision_calls"] == 1
    assert case["over_shared"]["dense"]["later"] > 0
    assert case["command"].startswith("python -m o3v.bench step model=tiny_qwen2_5_vl")
    assert "FLOP x floor" in done.stdout
    assert (tmp_path / "step_cost.png").is_file()
