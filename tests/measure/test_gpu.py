"""What the GPU measurement refuses, and steps put together from parts; the parts themselves need a GPU."""

import json

import pytest
import torch

from o3v.errors import ConfigError
from o3v.measure.gpu import GpuCase, measure_gpu
from o3v.measure.gpu_report import show, steps, write
from o3v.rollout.sampler import Sampling
from tests import tiny

PARTS = {
    "read": {"vision_s": 0.1, "whole_s": 1.0, "peak_mb": 1.0},
    "rollout dense": {"read_s": 0.0, "decode_s": 20.0, "peak_mb": 1.0},
    "rollout graph": {"read_s": 1.0, "decode_s": 2.0, "peak_mb": 1.0},
    "training dense": {"read_s": 0.0, "forward_s": 8.0, "backward_s": 16.0, "peak_mb": 1.0},
    "training packed-split": {"read_s": 0.0, "forward_s": 1.5, "backward_s": 3.0, "peak_mb": 1.0},
    "training kept-split": {"read_s": 1.25, "forward_s": 0.5, "backward_s": 3.0, "peak_mb": 1.0},
}


def case(**changes):
    given = {
        "spec": tiny.spec("qwen2_5_vl"),
        "vocab_size": 1500,
        "sizes": [[120, 6]],
        "sampling": Sampling(2, 1.0, 1.0, 0, 1, "auto"),
        "image_px": 56,
        "most_frames": None,
        "exact_size": [60, 4],
        "repeats": 1,
        "decoders": ["dense", "eager", "graph"],
        "training": ["dense", "packed-split", "packed-flex", "kept-split", "kept-flex"],
        "seed": 0,
    }
    return GpuCase(**given | changes)


@pytest.mark.parametrize(("key", "value"), [("decoders", ["vllm"]), ("training", ["kept"])])
def test_what_cannot_be_measured_is_refused(key, value):
    with pytest.raises(ConfigError, match=f"gpu_step: {key} has '{value[0]}'; allowed are"):
        case(**{key: value})


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_without_a_gpu_it_says_so():
    with pytest.raises(ConfigError, match="no GPU here"):
        next(measure_gpu(case()))


def test_steps_are_parts_that_belong_together():
    assert steps(PARTS) == {"dense": 44.0, "graph, packed-split": 7.5, "graph, kept-split": 6.75}


def test_a_size_replaces_an_equal_one(tmp_path, capsys):
    result = {
        "prompt": 120,
        "completion": 6,
        "frames": 1,
        "parts": PARTS,
        "parity": {},
        "case": {"spec": {"path": "m"}},
    }
    for _ in range(2):
        file = write(result, tmp_path, ["python"])
    (kept,) = json.loads(file.read_text())["cases"].values()
    assert kept["steps_s"]["dense"] == 44.0 and kept["command"] == "python"
    show(result)
    assert "step graph, kept-split: 6.750 s" in capsys.readouterr().out


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_measures_every_part():
    found = next(measure_gpu(case()))
    assert len(found["parts"]) == 1 + 3 + 5 and max(found["exactness_float32"]["kept-flex"].values()) < 1e-4
