"""The lab itself: jobs end in their states, a signal arrives, a preempted job is requeued, the scheduler restarts."""

import os

import pytest

pytestmark = pytest.mark.slurm


def test_a_job_sees_its_gpus_and_ends(slurm, tmp_path):
    job = slurm.sbatch("echo $CUDA_VISIBLE_DEVICES; exit 3", "--gres=gpu:2", "-o", tmp_path / "out")
    assert slurm.wait_state(job) == "FAILED" and slurm.job_info(job)["ExitCode"] == "3:0"
    assert (tmp_path / "out").read_text() == "0,1\n"
    slurm.wait(lambda: slurm.accounting(job) == {job: "FAILED"}, 20, "accounting")


@pytest.mark.slow  # tests/launchers/test_survival.py sees the same of a real run
def test_a_preempted_job_gets_its_signal_and_is_requeued(slurm, tmp_path):
    script, out = tmp_path / "script", tmp_path / "out"
    script.write_text(f"trap 'echo told >> {out}' USR2; echo started >> {out}; while :; do sleep 0.1; done")
    job = slurm.sbatch(f"srun bash {script}", "-p", "preempt", "--signal=USR2@30", "-o", tmp_path / "log")
    slurm.wait(out.exists, 20, "the job's script")
    with slurm.crowded():
        slurm.wait(lambda: "told" in out.read_text(), 30, "the signal")
        slurm.wait(lambda: slurm.restarts(job) == 1, 40, "the requeue")
    slurm.cancel(job)


def test_jobs_outlive_a_restart_of_the_scheduler(slurm, tmp_path):
    job = slurm.sbatch("sleep 2", "-o", tmp_path / "log")
    slurm.wait_state(job, "RUNNING")
    slurm.stop_scheduler()
    slurm.start_scheduler()
    assert slurm.wait_state(job) == "COMPLETED" and slurm.restarts(job) == 0


def test_the_environment_leads_to_the_lab(slurm):
    assert os.environ["SLURM_CONF"].startswith(str(slurm.folder))
