"""Small training runs as jobs of a true SLURM, which a test can meet in the middle of a step."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file
from torch import equal

from tests.commands import QUIET, SMALL, metrics
from tests.slurm.lab import Lab

BATCHES = 6
GATE_AT = 4  # batch: saved states are after batch 3 (of save_every=3) and after the one in which it is disturbed
BASE = (
    "model=tiny_qwen2_5_vl",
    "logger=mlflow",
    "trainer=cpu",
    f"trainer.batches={BATCHES}",
    "trainer.save_every=3",
    "trainer.show_every=4",
    "trainer.prompts_per_device=2",
    "trainer.parity_prompts=0",
    "objective=gspo",
    "objective.updates_per_rollout=2",
    "rollout.group_size=2",
    *QUIET,
    *SMALL,
)
TWO = ("trainer.lightning.devices=2", "+trainer.lightning.strategy=ddp", "trainer.prompts_per_device=1")


@dataclass(frozen=True)
class Training:
    """A run and the gate at which it waits.

    Attributes:
        out: output folder of all runs.
        name: of the run.
        overrides: of `o3v.train`.
    """

    out: Path
    name: str
    overrides: tuple[str, ...]

    @property
    def gate(self) -> Path:
        """Folder of the gate."""
        return self.out / "gates" / self.name

    @property
    def folder(self) -> Path:
        """Folder of the run, once it has started."""
        (found,) = self.out.glob(f"{self.name}-????????")
        return found

    def close_gate(self) -> Training:
        """Make the run wait in its fourth batch."""
        self.gate.mkdir(parents=True)
        return self

    def open_gate(self) -> None:
        """Let it go on, now and in every later start."""
        (self.gate / "open").touch()

    @property
    def waits(self) -> bool:
        """Whether it has reached the gate."""
        return (self.gate / "reached").exists()

    @property
    def is_asked(self) -> bool:
        """Whether a signal has reached it there."""
        return (self.gate / "asked").exists()

    def progress(self) -> dict:
        """Its progress.json."""
        return json.loads((self.folder / "progress.json").read_text())

    def lines(self, *more: str) -> tuple[str, ...]:
        """All overrides."""
        term = f"{{_target_: tests.slurm.gate.GateTerm, folder: {self.gate}, at: {GATE_AT / BATCHES}}}"
        rewards = (f"+reward.terms.gate={term}", "+reward.weights.gate=1.0")
        return (f"paths.output_dir={self.out}", f"name={self.name}", *BASE, *rewards, *self.overrides, *more)


def train(overrides: tuple[str, ...], folder: str) -> dict:
    """What a job runs: the command `o3v.train`."""
    from o3v.compose import compose_command
    from o3v.train import run

    return run(compose_command("train", overrides))


def submit(training: Training, *more: str, **slurm: object) -> str:
    """Submit a run as the launcher does; its job id. `more` are further overrides, `slurm` submitit's keys."""
    return submit_work(
        training, "tests.slurm.training:train", training.lines(*more), training.out / "stages" / training.name, **slurm
    )


def submit_work(training: Training, work: str, overrides: tuple[str, ...], folder: Path, **slurm: object) -> str:
    """Submit a function (`module:name`) of overrides and a folder as a stage; its job id."""
    import submitit

    from launchers.stage import StageJob

    executor = submitit.AutoExecutor(cluster="slurm", folder=training.out / "jobs" / "%j", slurm_max_num_timeout=5)
    parameters = {
        "name": training.name,
        "timeout_min": 60,
        "cpus_per_task": 2,
        "slurm_signal_delay_s": 60,
        "slurm_setup": ["export OMP_NUM_THREADS=1"],
        "slurm_srun_args": ["--kill-on-bad-exit=1"],
        "stderr_to_stdout": True,
    }
    executor.update_parameters(**parameters | slurm)
    job = StageJob(
        key=training.name,
        stage="rl",
        command=work,
        overrides=overrides,
        folder=str(folder),
        needs={},
        commit=None,
    )
    return executor.submit(job).job_id


def log_of(training: Training, job: str) -> str:
    """What all tasks and starts of a job wrote."""
    files = sorted((training.out / "jobs" / job).glob("*log.out"))
    return "\n".join(path.read_text(errors="replace") for path in files)


def finished(slurm: Lab, training: Training, job: str, timeout_s: float = 180) -> None:
    """Waits for a job's good end; its log in the message otherwise."""
    assert slurm.wait_state(job, timeout_s=timeout_s) == "COMPLETED", log_of(training, job)


def end_of(training: Training) -> tuple[dict, dict]:
    """Weights and metrics."""
    return load_file(training.folder / "model" / "model.safetensors"), metrics(training.folder)


def same(one: tuple[dict, dict], two: tuple[dict, dict]) -> bool:
    """Whether two ends are equal to the last bit."""
    return one[0].keys() == two[0].keys() and all(equal(one[0][k], two[0][k]) for k in one[0]) and one[1] == two[1]


def mlflow_runs(training: Training) -> tuple[list[str], list[int]]:
    """Of MLflow's runs of this name: their states, and how often each metric was stored at each step."""
    name = training.folder.name
    with sqlite3.connect(training.out / "mlflow.db") as database:
        runs = database.execute("select status from runs where name = ?", (name,)).fetchall()
        counts = database.execute(
            "select count(*) from metrics m join runs r on m.run_uuid = r.run_uuid"
            " where r.name = ? group by m.key, m.step",
            (name,),
        ).fetchall()
    return [status for (status,) in runs], [count for (count,) in counts]
