"""Two stages with adapters: only they learn, the reference is what the stage began with, a stop changes nothing."""

import pytest
import torch
from safetensors.torch import load_file

from o3v import train
from o3v.models.load import load_policy
from o3v.models.lora import adapter_off
from tests import commands, tiny
from tests.commands import GROUP, LETTERS, QUIET, SMALL, metrics, run_folder
from tests.test_resume import Stop, stop_after

ADAPTER = ("model.lora.rank=4", "model.lora.alpha=8", "model.lora.target_modules=[q_proj, v_proj, down_proj]")
STEPS = ("trainer.batches=3", "trainer.prompts_per_device=2", "trainer.save_every=2", "optim.warmup=0", "optim.lr=0.01")
RL = ("objective=gspo", "objective.kl_coef=0.1", "objective.updates_per_rollout=2", GROUP, *LETTERS)
FAMILY = "qwen2_5_vl"
COMMON = (f"model=tiny_{FAMILY}", "logger=jsonl", *QUIET, *SMALL, *ADAPTER, *STEPS)


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    """Base, SFT and GSPO; the models that the RL stage loaded, as they are after it."""
    out = tmp_path_factory.mktemp("adapters")
    base = tiny.saved_policy(FAMILY, out / "base")
    commands.run("train", out, *COMMON, "name=sft", f"init_from={base}")
    loaded = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "_load", lambda *given, right=train._load: loaded.append(right(*given)) or loaded[-1])
        commands.run("train", out, *COMMON, "name=gspo", *RL, f"init_from={run_folder(out, 'sft')}")
    return out, loaded[0]


def weights_of(out, name):
    folder = out / "base" if name == "base" else run_folder(out, name) / "model"
    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize(("before", "after"), [("base", "sft"), ("sft", "gspo")])
def test_what_is_exported_is_plain_and_only_the_adapted_layers_moved(stages, before, after):
    one, two = weights_of(stages[0], before), weights_of(stages[0], after)
    assert one.keys() == two.keys()
    moved = {name for name in one if not torch.equal(one[name], two[name])}
    adapted = ("q_proj.weight", "v_proj.weight", "down_proj.weight")
    assert moved == {name for name in one if name.endswith(adapted) and "visual" not in name}


def test_the_optimizer_holds_adapters_only(stages):
    state = torch.load(run_folder(stages[0], "gspo") / "states" / "last.ckpt", weights_only=True)
    held = state["optimizer_states"][0]["state"].values()
    assert len(held) == 2 * 3 * 4  # A and B of three layers in four blocks
    assert all(4 in part["exp_avg"].shape for part in held)


def test_the_reference_is_what_the_stage_began_with(stages):
    out, (policy, reference) = stages
    assert reference is policy
    begun = load_policy(tiny.spec(FAMILY), run_folder(out, "sft"))
    inputs = policy.encode(tiny.mixed_prompts(policy)).inputs()
    policy.model.eval()
    with torch.no_grad(), adapter_off(policy):
        assert torch.equal(policy.model(**inputs).logits, begun.model(**inputs).logits)
    with torch.no_grad():
        trained = policy.model(**inputs).logits
    assert float((trained - begun.model(**inputs).logits.detach()).abs().max()) > 1e-3


def test_the_kl_term_sees_the_policy_move(stages):
    found = metrics(run_folder(stages[0], "gspo"))
    kl = [float(found[step, "train/kl"]) for step in range(3)]
    assert kl[0] != kl[-1] and max(kl) > 1e-5 and min(kl) >= 0


@pytest.mark.parametrize("stage", ["sft", "gspo"])
def test_a_stopped_run_ends_like_an_undisturbed_one(stages, stage, tmp_path, monkeypatch):
    out, _ = stages
    begun = out / "base" if stage == "sft" else run_folder(out, "sft")
    given = (*COMMON, f"name={stage}", f"init_from={begun}", *(RL if stage == "gspo" else ()))
    with monkeypatch.context() as patch, pytest.raises(Stop):
        stop_after(2, patch)
        commands.run("train", tmp_path, *given)
    commands.run("train", tmp_path, *given)
    cut, whole = weights_of(tmp_path, stage), weights_of(out, stage)
    assert all(torch.equal(cut[name], whole[name]) for name in whole)
    assert metrics(run_folder(tmp_path, stage)) == metrics(run_folder(out, stage))
