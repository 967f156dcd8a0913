"""Batch files, without SLURM."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from launchers.plan import Batch, Dependency
from launchers.slurm import batch_text, dependency_text, submit_batch
from o3v.cluster import repository
from o3v.errors import ConfigError, ServiceError
from o3v.study import Study
from tests.launchers.studies import SLURM, chain

BIG = {
    **SLURM,
    "nodes": 4,
    "gpus_per_node": 8,
    "tasks_per_node": 8,
    "cpus_per_task": 12,
    "mem_gb": 512,
    "partition": "gpu",
    "account": "vision",
    "qos": "long",
    "constraint": "a100|h100",
    "setup": ["module load cuda"],
    "sbatch": {"exclude": "n7"},
}

GOLDEN = """\
#!/bin/bash

# Parameters
#SBATCH --account=vision
#SBATCH --array=0-1%2
#SBATCH --constraint='a100|h100'
#SBATCH --cpus-per-task=12
#SBATCH --dependency=aftercorr:52
#SBATCH --exclude=n7
#SBATCH --gpus-per-node=8
#SBATCH --job-name=study-rl
#SBATCH --kill-on-invalid-dep=yes
#SBATCH --mem=512GB
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=8
#SBATCH --open-mode=append
#SBATCH --output=OUT/studies/study/jobs/rl/%A_%a_0_log.out
#SBATCH --partition=gpu
#SBATCH --qos=long
#SBATCH --requeue
#SBATCH --signal=USR2@30
#SBATCH --time=20
#SBATCH --wckey=submitit

# setup
export PYTHONPATH=ROOT"$([ -z "$PYTHONPATH" ] || echo ":$PYTHONPATH")"
export SRUN_CPUS_PER_TASK=12
export SLURM_KILL_BAD_EXIT=1
module load cuda
export O3V_BATCH_FILE=OUT/studies/study/jobs/rl/${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}_submission.sh

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output OUT/studies/study/jobs/rl/%A_%a_%t_log.out PYTHON -u -m submitit.core._submit \
OUT/studies/study/jobs/rl
"""

ARRAY = Batch("rl", ("rl-a-0", "rl-a-1"), Dependency("aftercorr", ("sft-0", "sft-1")), 2)


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    monkeypatch.setenv("O3V_SITE", "")
    return chain(tmp_path, {"a": {}}, resources=BIG)


def test_the_batch_file_of_an_array(study: Study, tmp_path: Path) -> None:
    import sys

    text = batch_text(study, ARRAY, dependency_text(ARRAY, {"sft-0": "52_0"}))
    for place, name in ((str(tmp_path), "OUT"), (sys.executable, "PYTHON"), (str(repository()), "ROOT")):
        text = text.replace(place, name)
    assert text == GOLDEN
    assert list(tmp_path.iterdir()) == []  # nothing was written


def test_the_batch_file_of_a_plain_job_that_waits_for_nothing(study: Study) -> None:
    text = batch_text(study, Batch("sft", ("sft-0",), None, 1), None)
    for absent in ("--array", "--dependency", "kill-on-invalid-dep"):
        assert absent not in text
    assert "--output=" in text and "%j_0_log.out" in text


def test_a_plain_dependency_names_the_element() -> None:
    assert dependency_text(Batch("rl", ("r",), Dependency("afterok", ("s",)), 1), {"s": "52_3"}) == "afterok:52_3"


@pytest.mark.parametrize(
    ("change", "message"), [({"timeout_min": None}, "timeout_min"), ({"signal_delay_s": 1200}, "signal_delay_s=1200")]
)
def test_times_that_cannot_be(study: Study, change: dict, message: str) -> None:
    run = replace(study.runs["sft-0"], resources={**BIG, **change})
    wrong = replace(study, runs={**study.runs, "sft-0": run})
    with pytest.raises(ConfigError, match=message):
        batch_text(wrong, Batch("sft", ("sft-0",), None, 1), None)


def test_without_sbatch_nothing_is_written(study: Study, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ServiceError, match="sbatch was not found"):
        submit_batch(study, ARRAY, {"sft-0": "1_0"}, lambda run: None, 0)
    assert not any(os.scandir(tmp_path))


def test_an_evaluation_is_one_process_with_the_cpus_of_all(study: Study) -> None:
    run = replace(study.runs["sft-0"], command="evaluate")
    text = batch_text(replace(study, runs={"sft-0": run}), Batch("sft", ("sft-0",), None, 1), None)
    assert "--nodes=1\n" in text and "--ntasks-per-node=1\n" in text and "--cpus-per-task=96\n" in text
    assert "--gpus-per-node=8\n" in text
