"""A run of two processes on the CPU."""

import os
import subprocess
import sys

import pytest
from safetensors.torch import load_file
from torch import equal

from tests import commands, tiny
from tests.commands import QUIET, SMALL, metrics, run_folder

TWO = ("trainer.lightning.devices=2", "+trainer.lightning.strategy=ddp", "trainer.prompts_per_device=1")
STILLS = ("+reward.terms.stills={_target_: tests.training.steps.StillsTerm}", "+reward.weights.stills=1.0")
RL = ("objective=gspo", "rollout.group_size=2", *STILLS)


def finished(out, *arguments):
    process = commands.start("train", out, *arguments)
    try:
        text, _ = process.communicate(timeout=150)
    finally:
        process.kill()
    assert process.returncode == 0, text


@pytest.mark.slow
@pytest.mark.parametrize("stage", [(), RL], ids=["sft", "gspo"])
def test_two_processes_train_one_model(tmp_path, stage):
    """With GSPO the processes skip other groups, and must make equally many updates all the same."""
    base = tiny.saved_policy("qwen2_5_vl", tmp_path / "base")
    run = ("logger=jsonl", "trainer.batches=6", "trainer.save_every=4", *TWO, *QUIET, *SMALL, *stage)
    finished(tmp_path, "model=tiny_qwen2_5_vl", f"init_from={base}", *run)
    folder = run_folder(tmp_path, "train")
    recorded = metrics(folder)
    assert [recorded[step, "train/prompts"] for step in range(6)] == ["1.0"] * 6
    if stage:
        skipped = {recorded[step, "train/skipped_update"] for step in range(6)}
        assert "0.5" in skipped  # else the seed has given both processes the same kinds of rows
    trained, start = load_file(folder / "model" / "model.safetensors"), load_file(base / "model.safetensors")
    assert not all(equal(trained[name], start[name]) for name in start)
    assert sorted(path.name for path in (folder / "states").iterdir()) == ["last.ckpt", "previous.ckpt"]


FAILING = """
import os
from o3v.errors import DataError
from o3v.training import report, state

rank = int(os.environ.get("LOCAL_RANK", "0"))
kind = os.environ["FAILS"]

def full(*_, **__):
    raise OSError(28, "No space left on device")

def broken(self, trainer, pl_module, *rest, right=report.Report.on_train_batch_end):
    right(self, trainer, pl_module, *rest)
    if rank == 1 and pl_module.batches_done == 2:
        pl_module.failure = DataError("too many faults in one process")

if kind == "disk" and rank == 0:
    state.torch.save = full
if kind == "data":
    report.Report.on_train_batch_end = broken
from o3v.train import main
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("fails", ["disk", "data"])
def test_what_one_process_meets_leaves_no_other_waiting(tmp_path, fails):
    """A full disk of the first lets all go on without a state; faulty data of the second ends both."""
    base = tiny.saved_policy("qwen2_5_vl", tmp_path / "base")
    script = tmp_path / "failing.py"
    script.write_text(FAILING)
    run = ("logger=jsonl", "trainer.batches=4", "trainer.save_every=2", *TWO, *QUIET, *SMALL)
    arguments = ["model=tiny_qwen2_5_vl", f"init_from={base}", f"paths.output_dir={tmp_path}", *run]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "FAILS": fails, "PYTHONPATH": str(tiny.CONF.parent)}
    done = subprocess.run(
        [sys.executable, str(script), *arguments], env=environment, capture_output=True, text=True, timeout=240
    )
    text = done.stdout + done.stderr
    states = run_folder(tmp_path, "train") / "states"
    if fails == "disk":
        assert done.returncode == 0 and text.count("state not saved") == 2, text
        assert not list(states.glob("*.ckpt")) and metrics(states.parent)[3, "train/loss"]
    else:
        assert done.returncode != 0 and "too many faults in one process" in text, text
        assert "another process of this run has stopped" in text, text
        assert not (states.parent / "DONE.json").exists()
