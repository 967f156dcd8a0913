"""A run of two processes on the CPU."""

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
        assert skipped == {"0.0", "1.0"}  # else the seed has given both processes the same kinds of rows
    trained, start = load_file(folder / "model" / "model.safetensors"), load_file(base / "model.safetensors")
    assert not all(equal(trained[name], start[name]) for name in start)
    assert sorted(path.name for path in (folder / "states").iterdir()) == ["last.ckpt", "previous.ckpt"]
