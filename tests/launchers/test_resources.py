"""Hydra's launcher and `launchers.submit` ask for the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from launchers.plan import Batch
from launchers.resources import local_parameters
from launchers.slurm import batch_text
from o3v.cli import conf_folder
from o3v.config import register_schemas
from o3v.errors import ConfigError
from tests.launchers.studies import LOCAL, chain

OWN = ("--output", "--job-name", "--array")
"""What names a job and its files, and not what it asks for."""


def composed(*overrides: str) -> Any:
    register_schemas()
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return compose("train", list(overrides), return_hydra_config=True)


def hydra_text(cfg: Any, folder: Path, jobs: int) -> str:
    """The batch file that Hydra's launcher sends for a multirun, by its own way from parameters to submitit."""
    from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf
    from submitit import AutoExecutor

    base = set(OmegaConf.structured(BaseQueueConf).keys())
    launcher = OmegaConf.to_container(cfg.hydra.launcher, resolve=False)
    kept = {key: value for key, value in launcher.items() if key not in ("_target_", "submitit_folder", "name")}
    resolved = OmegaConf.to_container(OmegaConf.create({"cluster": cfg.cluster, "launcher": kept}), resolve=True)
    plain = {key: value for key, value in resolved["launcher"].items() if key != "max_num_timeout"}
    executor = AutoExecutor(folder, cluster="slurm", slurm_max_num_timeout=cfg.cluster.max_num_timeout)
    executor.update_parameters(**{n if n in base else f"slurm_{n}": v for n, v in plain.items()})
    executor._executor.parameters["map_count"] = jobs
    return executor._executor._make_submission_file_text("run", "")


def asked(text: str) -> set[str]:
    """Lines that say what a job gets, and what runs before it."""
    lines = [line for line in text.splitlines() if line.startswith(("#SBATCH", "export", "module"))]
    return {line for line in lines if not any(own in line for own in OWN) and "O3V_BATCH_FILE" not in line}


@pytest.mark.parametrize("name", ["slurm_1x8", "slurm_4x8", "slurm_cpu", "slurm_1x8_preempt", "slurm_cpu_preempt"])
def test_a_2x2_multirun_asks_for_what_a_study_asks_for(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    (tmp_path / "srun").write_text("#!/bin/sh\n")
    (tmp_path / "srun").chmod(0o755)
    site = tmp_path / "site.yaml"
    site.write_text("account: vision\nqos: long\nsetup: [module load cuda]\nsbatch: {exclude: n7}\n")
    monkeypatch.setenv("O3V_SITE", str(site))
    texts = []
    for reward in ("o3", "no_gate"):
        for seed in (0, 1):
            cfg = composed(f"cluster={name}", f"reward={reward}", f"seed={seed}", "+cluster.sbatch.comment=x")
            texts.append(asked(hydra_text(cfg, tmp_path, 4)))
    resources = OmegaConf.to_container(cfg.cluster, resolve=True)
    study = chain(tmp_path, {arm: {} for arm in "abcd"}, seeds=(0,), resources=resources)
    keys = tuple(key for key in study.runs if key.startswith("rl"))
    ours = asked(batch_text(study, Batch("rl", keys, None, resources["array_parallelism"]), None))
    assert all(text == ours for text in texts)
    assert "#SBATCH --account=vision" in ours and "#SBATCH --comment=x" in ours and "module load cuda" in ours


def test_a_preemptible_profile_takes_the_sites_partition(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("O3V_SITE", "")
    assert composed("cluster=slurm_1x8_preempt").cluster.partition == "preempt"
    site = tmp_path / "site.yaml"
    site.write_text("partition: gpu\npreempt_partition: scavenge\npreempt_qos: low\n")
    monkeypatch.setenv("O3V_SITE", str(site))
    assert composed("cluster=slurm_1x8").cluster.partition == "gpu"
    cfg = composed("cluster=slurm_1x8_preempt")
    assert (cfg.cluster.partition, cfg.cluster.qos) == ("scavenge", "low")
    assert composed("cluster=slurm_1x8", "cluster.partition=debug").cluster.partition == "debug"


def test_local_jobs_side_by_side_see_different_gpus() -> None:
    first, second = (local_parameters({**LOCAL, "gpus_per_node": 2}, slot)["visible_gpus"] for slot in (0, 1))
    assert not set(first) & set(second)


def test_this_machine_is_one_node() -> None:
    with pytest.raises(ConfigError, match="one node"):
        local_parameters({**LOCAL, "nodes": 2}, 0)
