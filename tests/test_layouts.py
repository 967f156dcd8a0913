"""Runs of two processes on a CPU under every layout: the same run as one process makes."""

import json
import shutil

import pytest
from safetensors.torch import load_file

from tests import commands, tiny
from tests.commands import LETTERS, QUIET, SMALL, metrics, run_folder

LAYOUTS = {
    "ddp": "ddp",
    "fsdp2": "fsdp2",
    "zero2": "deepspeed_zero2",
    "zero3": "deepspeed_zero3",
    "zero3_offload": "deepspeed_zero3_offload",
}
STEPS = ("logger=jsonl", "trainer.batches=5", "trainer.save_every=3", "optim.warmup=0", "optim.lr=1e-4", *QUIET, *SMALL)
ON_CPU = ("trainer.lightning.accelerator=cpu", "trainer.num_workers=0", "trainer.threads=1", "trainer.keep_whole=0")
RL = (
    "objective=gspo",
    "objective.minibatches=1",
    "objective.updates_per_rollout=2",
    "objective.kl_coef=0.04",
    "rollout.group_size=3",
    "trainer.prompts_per_pass=1",
    "trainer.old_logprobs=recompute",
    "trainer.prompt_pass=split",
    *LETTERS,
)
STAGES = {"sft": ("trainer.prompt_pass=split",), "gspo": RL}
LORA = ("model.lora.rank=4", "model.lora.alpha=8")


def trained(out, base, layout: str, processes: int, *arguments: str):
    """Weights of a run in processes of its own, and its metrics."""
    sizes = (f"trainer.lightning.devices={processes}", f"trainer.prompts_per_device={4 // processes}")
    model = ("model=tiny_qwen2_5_vl", f"init_from={base}", f"trainer={LAYOUTS[layout]}")
    process = commands.start("train", out, *model, *ON_CPU, *sizes, *STEPS, *arguments)
    try:
        text, _ = process.communicate(timeout=280)
    finally:
        process.kill()
    assert process.returncode == 0, text
    return weights_of(out), metrics(run_folder(out, "train")), text


def weights_of(out):
    return load_file(run_folder(out, "train") / "model" / "model.safetensors")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny.saved_policy("qwen2_5_vl", tmp_path_factory.mktemp("layouts") / "base")


@pytest.fixture(scope="module")
def alone(tmp_path_factory, base):
    """Stage -> the run of one process."""
    runs = {}

    def run(stage: str, *more: str):
        if (stage, more) not in runs:
            out = tmp_path_factory.mktemp("alone")
            runs[stage, more] = trained(out, base, "ddp", 1, *STAGES[stage], *more)
        return runs[stage, more]

    return run


def difference(weights, others) -> float:
    assert weights.keys() == others.keys()
    return max(float((weights[name] - others[name]).abs().max()) for name in weights)


def assert_same_run(found, wanted):
    """Weights within 1e-5; Adam forgets the scale of a gradient, so its norm and the loss are compared too."""
    assert difference(found[0], wanted[0]) < 1e-5
    for step in range(5):
        for name in ("train/loss", "train/grad_norm"):
            assert float(found[1][step, name]) == pytest.approx(float(wanted[1][step, name]), rel=1e-4, abs=1e-6), name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layout", "stage"), [(layout, stage) for layout in LAYOUTS for stage in STAGES if layout != "zero3_offload"]
)
def test_two_processes_make_the_run_of_one(tmp_path, base, alone, layout, stage):
    wanted = alone(stage)
    assert difference(wanted[0], load_file(base / "model.safetensors")) > 1e-4
    assert_same_run(trained(tmp_path, base, layout, 2, *STAGES[stage]), wanted)


@pytest.mark.slow
def test_adapters(tmp_path, base, alone):
    """Under ZeRO: tests/training/test_zero.py."""
    assert_same_run(trained(tmp_path, base, "fsdp2", 2, *RL, *LORA), alone("gspo", *LORA))


def begin_again(folder, at_end: bool) -> None:
    """As if the process had ended after a save: at the end of the run, or two steps before."""
    shutil.rmtree(folder / "model")
    (folder / "DONE.json").unlink()
    newest, previous = folder / "states" / "last.ckpt", folder / "states" / "previous.ckpt"
    if not at_end:
        shutil.rmtree(newest) if newest.is_dir() else newest.unlink()
        previous.rename(newest)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layout", "processes"), [("fsdp2", (2, 1)), ("zero2", (1,)), ("zero3", (2, 1)), ("zero3_offload", ())]
)
def test_a_run_goes_on_with_as_many_processes_and_with_another_number(tmp_path, base, alone, layout, processes):
    """The state of batch 3 is gone on from by two processes, then by one; at last only the export is missing."""
    whole, recorded, _ = trained(tmp_path, base, layout, 2, *RL)
    assert_same_run((whole, recorded), alone("gspo"))
    folder = run_folder(tmp_path, "train")
    for count in processes:
        begin_again(folder, at_end=False)
        weights, _, text = trained(tmp_path, base, layout, count, *RL)
        assert "continuing from" in text and "batch 3 of 5" in text
        assert difference(weights, whole) < 1e-5
        assert {path.name for path in (folder / "states").iterdir()} >= {"last.ckpt", "previous.ckpt"}
    begin_again(folder, at_end=True)
    weights, _, _ = trained(tmp_path, base, layout, 1, *RL)
    assert difference(weights, whole) < 1e-5
    assert json.loads((folder / "DONE.json").read_text())["batches"] == 5
