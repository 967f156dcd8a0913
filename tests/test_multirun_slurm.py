"""Hydra's own multirun as jobs of a true SLURM: four runs of one command line, and runs that fail."""

import json
import os
import subprocess
import sys

import pytest

from tests import tiny
from tests.commands import LETTERS, QUIET, SMALL, metrics

pytestmark = pytest.mark.slurm

FEW = ("trainer.batches=2", "trainer.show_every=2", "trainer.prompts_per_device=2", "trainer.parity_prompts=0")
RL = ("objective=gspo", "rollout.group_size=2", *LETTERS)


def multirun(out, *arguments):
    """Runs the command; its exit code and what it said."""
    command = [sys.executable, "-m", "o3v.train", "-m", f"paths.output_dir={out}", *FEW, *QUIET, *SMALL, *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=tiny.CONF.parent, env=environment, capture_output=True, text=True, timeout=280, check=False
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return tiny.saved_policy("qwen2_5_vl", tmp_path_factory.mktemp("base") / "model", 1.5)


@pytest.mark.parametrize("cluster", ["slurm_cpu", pytest.param("local", marks=pytest.mark.slow)])
def test_two_rewards_with_two_seeds(cluster, slurm, weights, tmp_path):
    before = slurm.jobs()
    resources = ("cluster.array_parallelism=2",) if cluster == "slurm_cpu" else ()
    arms = ("reward=o3,no_gate", "seed=0,1", f"cluster={cluster}", *resources)
    code, text = multirun(tmp_path, "logger=jsonl", f"init_from={weights}", *RL, *arms)
    assert code == 0, text
    done = [json.loads(path.read_text()) for path in tmp_path.glob("train-*/DONE.json")]
    assert [result["batches"] for result in done] == [2] * 4
    assert all(len(metrics(path.parent)) for path in tmp_path.glob("train-*/DONE.json"))
    new = [slurm.wait_state(job) for job in slurm.jobs() if job not in before]
    assert new == (["COMPLETED"] * 4 if cluster == "slurm_cpu" else [])


def test_a_run_that_fails_is_a_failed_job_with_its_traceback_in_its_log(slurm, weights, tmp_path):
    before = slurm.jobs()
    broken = "+reward.terms.broken={_target_: tests.slurm.broken.BrokenTerm}"
    code, text = multirun(
        tmp_path,
        "logger=jsonl",
        f"init_from={weights}",
        *RL,
        broken,
        "+reward.weights.broken=1.0",
        "seed=0",
        "cluster=slurm_cpu",
    )
    assert code == 1 and "a run of the sweep failed" in text, text
    assert [slurm.wait_state(job) for job in slurm.jobs() if job not in before] == ["FAILED"]
    logs = [path.read_text() for path in tmp_path.glob(".multirun/*/.submitit/*/*log.out")]
    assert sum("Traceback" in log and "no credit today" in log for log in logs) == 1, logs
    assert all(json.loads(path.read_text())["status"] == "failed" for path in tmp_path.glob("train-*/status.json"))
