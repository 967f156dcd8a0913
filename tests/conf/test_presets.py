"""Every trainer preset beside every model preset, and the paper's stages on their eight GPUs."""

from __future__ import annotations

import pytest
from hydra import compose, initialize_config_dir

from o3v.config import build, register_schemas
from o3v.training.layouts import LAYOUTS
from tests.tiny import CONF

MODELS = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
TRAINERS = sorted(path.stem for path in (CONF / "trainer").glob("*.yaml"))


@pytest.fixture(scope="module", autouse=True)
def configuration():
    register_schemas()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("trainer", TRAINERS)
def test_every_trainer_composes_with_every_model(trainer, model):
    cfg = compose("train", overrides=[f"trainer={trainer}", f"model={model}", "objective=gspo"])
    settings = build(cfg, "trainer")
    assert settings.layout in LAYOUTS and settings.passes() and build(cfg, "model").family


@pytest.mark.parametrize(("stage", "layout", "kind"), [("sft", "zero2", "linear"), ("rl", "zero3", "cosine")])
@pytest.mark.parametrize(("cluster", "processes"), [("inline", 8), ("slurm_1x8", 8), ("slurm_4x8", 32)])
def test_the_papers_stages_have_eight_rows_an_update_on_eight_gpus(stage, layout, kind, cluster, processes):
    """arXiv:2510.20579, 3.3 and released code: batch 1 x 8 GPUs, 1e-6, ZeRO-2 for SFT and ZeRO-3 for RL."""
    cfg = compose("train", overrides=[f"experiment=paper_{stage}", f"cluster={cluster}"])
    settings, optimization = build(cfg, "trainer"), build(cfg, "optim")
    assert settings.layout == layout and settings.world_size == settings.global_batch == processes
    assert (optimization.lr, optimization.schedule, optimization.max_grad_norm) == (1e-6, kind, 5.0)


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize("stage", ["sft", "rl"])
def test_the_papers_stages_go_with_every_trainer(trainer, stage):
    cfg = compose("train", overrides=[f"experiment=paper_{stage}", f"trainer={trainer}", "cluster=slurm_1x8"])
    assert build(cfg, "trainer").global_batch == 8
