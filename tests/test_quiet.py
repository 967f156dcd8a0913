"""What a plain run says and loads: nothing of DeepSpeed, and once what is wrong with weights in bfloat16."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.commands import COUNTS, HELDOUT, QUIET

SMALL_RUN = (COUNTS, HELDOUT, *QUIET, "logger=none", "trainer.batches=1", "trainer.prompts_per_device=2")


def ran(*arguments: str) -> tuple[str, set[str]]:
    """What a command says, and the packages that it imports."""
    done = subprocess.run([sys.executable, "-X", "importtime", "-m", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stderr.splitlines()
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in lines if line.startswith("import time:")}
    return done.stdout + "\n".join(line for line in lines if not line.startswith("import time:")), imported


@pytest.mark.parametrize("command", ["train", "plan"])
def test_help_loads_neither_torch_nor_deepspeed(command):
    said, imported = ran(f"o3v.{command}", "--help")
    assert command in said and not {"deepspeed", "torch"} & imported


@pytest.mark.slow
@pytest.mark.parametrize("model", ["model.dtype=bfloat16", "model.lora.rank=2"])
def test_a_run_under_ddp_says_nothing_of_deepspeed(model, tmp_path):
    said, imported = ran("o3v.train", f"paths.output_dir={tmp_path}", model, *SMALL_RUN)
    assert "batch 1 of 1" in said and "lightning" in imported
    assert "deepspeed" not in imported and "DeepSpeed" not in said and "accelerator" not in said
    assert said.count("round back") == (1 if "bfloat16" in model else 0)
