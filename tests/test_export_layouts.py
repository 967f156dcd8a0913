"""States that two processes have written become the model that the run itself has exported."""

import pytest
import torch

from o3v.training.checkpoints import find_checkpoint
from tests import commands, tiny
from tests.commands import QUIET, SMALL, run_folder

ON_CPU = ("trainer.lightning.accelerator=cpu", "trainer.lightning.devices=2", "trainer.num_workers=0")
SHORT = ("trainer.batches=3", "trainer.prompts_per_device=2", "optim.warmup=0", "optim.lr=1e-3", "logger=jsonl")
LORA = ("model.lora.rank=4", "model.lora.alpha=8")
CASES = [
    ("fsdp2", (), "distributed"),
    ("fsdp2", LORA, "distributed"),
    ("deepspeed_zero2", (), "parts"),
    ("deepspeed_zero3", LORA, "parts"),
]


def logprobs(folder, inputs):
    from transformers import AutoModelForImageTextToText

    with torch.no_grad():
        model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
        return model(**inputs).logits.log_softmax(-1)


@pytest.mark.slow
@pytest.mark.parametrize(("layout", "more", "kind"), CASES, ids=lambda value: "lora" if value == LORA else None)
def test_a_state_of_two_processes(tmp_path, layout, more, kind):
    base = tiny.saved_policy("qwen2_5_vl", tmp_path / "base")
    if kind == "parts":
        pytest.importorskip("deepspeed")
    given = (f"init_from={base}", f"trainer={layout}", *ON_CPU, *SHORT, *QUIET, *SMALL, *more)
    process = commands.start("train", tmp_path, *given)
    text, _ = process.communicate(timeout=280)
    assert process.returncode == 0, text
    run = run_folder(tmp_path, "train")
    assert find_checkpoint(run / "states" / "last.ckpt").kind == kind
    commands.run("export", tmp_path, f"checkpoint={run / 'states' / 'last.ckpt'}", f"out={tmp_path / 'out'}")
    policy = tiny.random_policy("qwen2_5_vl")
    inputs = policy.encode(tiny.mixed_prompts(policy)).inputs()
    wanted, begun = logprobs(run / "model", inputs), logprobs(base, inputs)
    assert float((logprobs(tmp_path / "out", inputs) - wanted).abs().max()) < 1e-5
    assert float((begun - wanted).abs().max()) > 1e-4, "training changed nothing, so nothing was tested"
