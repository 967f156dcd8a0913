"""States of ZeRO runs: continued by as many processes, by fewer, by more, and by another stage."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
import torch

from tests.training.test_zero import LAYOUTS, farthest, finished, run

pytest.importorskip("deepspeed")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """(folder with "state", undisturbed run) of a layout, made once: the state is that after 3 of 5 updates."""
    made: dict[str, Any] = {}

    def make(layout: str, **told: Any) -> Any:
        key = f"{layout} {told}"
        if key not in made:
            folder = tmp_path_factory.mktemp("saved")
            undisturbed = finished(folder, "whole", layout=layout, save_at=3, state=str(folder / "state"), **told)
            made[key] = folder, undisturbed
        return made[key]

    return make


def continued(folder, layout, name="rest", **told):
    """The run from a state on."""
    return finished(folder, name, layout=layout, load=str(folder / "state"), **told)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_as_many_processes_go_on_bit_by_bit(saved, layout):
    folder, undisturbed = saved(layout)
    rest = continued(folder, layout)
    assert farthest(rest, undisturbed) == 0.0
    assert rest["norms"] == undisturbed["norms"][3:]


@pytest.mark.parametrize(("before", "after", "processes"), [("zero2", "zero2", 1), ("zero3", "zero3", 1)])
def test_fewer_processes_go_on(saved, before, after, processes):
    folder, undisturbed = saved(before)
    assert farthest(continued(folder, after, "fewer", processes=processes), undisturbed) < 1e-6


def test_more_processes_and_another_stage_go_on(saved):
    """From stage 2 on one process to stage 3, offloaded, on two."""
    folder, undisturbed = saved("zero2", processes=1)
    assert farthest(continued(folder, "zero3_offload", "more"), undisturbed) < 1e-6


def test_adapters_alone_are_kept(saved):
    """With LoRA a state has no frozen weight, and a run continues bit by bit."""
    folder, undisturbed = saved("zero3", lora=True)
    rest = continued(folder, "zero3", lora=True)
    assert farthest(rest, undisturbed) == 0.0
    trained = sum(value.nbytes for name, value in undisturbed["state"].items() if ".lora_" in name)
    size = sum(path.stat().st_size for path in (folder / "state").glob("part-*"))
    assert size < 3 * trained + 100_000  # masters and two moments, and the files' heads


def test_bfloat16_goes_on_bit_by_bit(saved):
    folder, undisturbed = saved("zero3", dtype="bfloat16")
    assert farthest(continued(folder, "zero3", dtype="bfloat16"), undisturbed) == 0.0


def test_states_hold_no_pickle_of_others(saved):
    """The only file that is no safetensors is read without executing anything."""
    folder, _ = saved("zero2")
    files = {path.name for path in (folder / "state").iterdir()}
    assert files == {"meta.pt", "part-00000-000.safetensors", "part-00001-000.safetensors"}
    assert torch.load(folder / "state" / "meta.pt", weights_only=True)["done"] == 3


def test_states_of_other_weights_are_refused(saved, tmp_path):
    """Of a model with adapters into one without, and with a part that is missing."""
    folder, _ = saved("zero2")
    done = run(tmp_path, "other", layout="zero2", processes=1, lora=True, load=str(folder / "state"))
    assert done.returncode != 0 and "which this run trains" in done.stderr
    shutil.copytree(folder / "state", tmp_path / "state")
    (tmp_path / "state" / "part-00001-000.safetensors").unlink()
    done = run(tmp_path, "part", layout="zero2", processes=1, load=str(tmp_path / "state"))
    assert done.returncode != 0 and "ConfigError" in done.stderr


def test_a_disk_that_one_process_cannot_write_stops_all(tmp_path):
    """None waits for the other."""
    told = {"layout": "zero3", "save_at": 1, "state": str(tmp_path / "state"), "full_disk": 1}
    done = run(tmp_path, "full", **told)
    assert done.returncode != 0
    assert "No space left" in done.stderr and "another process could not write" in done.stderr, done.stderr
