"""A true SLURM on this machine, as tests use it: submit, look, signal, requeue, stop the scheduler.

Every command goes to the lab by its environment; nothing here reads or changes a SLURM that the machine may have.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SBIN = ("/usr/sbin", "/sbin")
PROGRAMS = ("munged", "slurmctld", "slurmd", "slurmdbd", "sbatch", "srun", "sacctmgr", "mariadbd", "mariadb")
UP_LIMIT_S = 120
ENDED = frozenset({"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"})


def missing_programs() -> list[str]:
    """Programs of a SLURM with accounting that this machine lacks."""
    path = os.pathsep.join((os.environ.get("PATH", ""), *SBIN))
    return [name for name in PROGRAMS if shutil.which(name, path=path) is None]


@dataclass(frozen=True)
class Lab:
    """A running SLURM.

    Attributes:
        folder: of its daemons.
        env: environment that a process needs to reach it: SLURM_CONF, SLURM_LAB_DIR, PATH, and PYTHONPATH with this
            repository, so that jobs import the code under test. Merge it: `os.environ | dict(lab.env)`.
    """

    folder: Path
    env: Mapping[str, str]

    def command(self, *arguments: object, check: bool = True, timeout_s: float = 60) -> str:
        """Runs a command against the lab; its output. Raises AssertionError with what it said where it fails."""
        done = subprocess.run(
            [str(argument) for argument in arguments],
            env=os.environ | dict(self.env),
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
        assert done.returncode == 0 or not check, f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def sbatch(self, script: str, *options: object) -> str:
        """Submits a shell script; its job id."""
        return self.command("sbatch", "--parsable", *options, f"--wrap={script}").strip()

    def job_info(self, job_id: object) -> dict[str, str]:
        """What `scontrol -o show job` says of a job (an array element: `12_0`); empty for one that is unknown."""
        return dict(re.findall(r"(\w+)=(\S*)", self.command("scontrol", "-o", "show", "job", job_id, check=False)))

    def state(self, job_id: object) -> str:
        """JobState of a job; "" for one that is unknown."""
        return self.job_info(job_id).get("JobState", "")

    def restarts(self, job_id: object) -> int:
        """How often a job was requeued and started again."""
        return int(self.job_info(job_id).get("Restarts", 0))

    def jobs(self) -> dict[str, str]:
        """Job id (array elements apart) -> state of all jobs that the scheduler remembers."""
        lines = self.command("squeue", "-h", "-r", "--states=all", "-o", "%i|%T").split()
        return dict(line.split("|", 1) for line in lines)

    def accounting(self, job_id: object) -> dict[str, str]:
        """Job id (array elements apart) -> state, as sacct has it; it lags behind by up to 4 s for arrays."""
        lines = self.command("sacct", "-X", "-n", "-P", "-o", "JobID,State", "-j", job_id).splitlines()
        return dict(line.split("|", 1) for line in lines)

    def wait_state(self, job_id: object, states: Collection[str] | str = ENDED, timeout_s: float = 60) -> str:
        """Waits until a job is in one of the states (default: it has ended); that state.

        Raises:
            AssertionError: it was not in time; says in which state and for which reason it is.
        """
        wanted = {states} if isinstance(states, str) else set(states)
        return self.wait(lambda: (s := self.state(job_id)) in wanted and s, timeout_s, f"{job_id} in {sorted(wanted)}")

    def wait_restart(self, job_id: object, restarts: int = 1, timeout_s: float = 60) -> None:
        """Waits until a job runs for the time after so many requeues."""
        self.wait(
            lambda: self.restarts(job_id) >= restarts and self.state(job_id) != "PENDING",
            timeout_s,
            f"{job_id} started again",
        )

    def wait(self, condition, timeout_s: float, what: str):
        """Polls until the condition gives something true, and returns that; AssertionError with all jobs otherwise."""
        until = time.monotonic() + timeout_s
        while not (found := condition()):
            assert time.monotonic() < until, f"waited {timeout_s} s for {what}:\n{self.queue()}"
            time.sleep(0.1)
        return found

    def queue(self) -> str:
        """All jobs with state and reason, for messages."""
        return self.command("squeue", "-r", "--states=all", "-o", "%i %j %P %T %r", check=False)

    def signal(self, job_id: object, name: str = "USR2") -> None:
        """Sends a signal to the steps of a job, as SLURM does before a time limit or a preemption."""
        self.command("scancel", f"--signal={name}", job_id)

    def requeue(self, job_id: object) -> None:
        """`scontrol requeue`: TERM, KillWait seconds, KILL, and the job waits again."""
        self.command("scontrol", "requeue", job_id)

    def cancel(self, *job_ids: object) -> None:
        """Cancels jobs."""
        if job_ids:
            self.command("scancel", *job_ids, check=False)

    def release(self, job_id: object) -> None:
        """Lets a requeued job start now instead of after its waiting time."""
        self.command("scontrol", "update", f"JobId={job_id}", "StartTime=now", check=False)

    @contextmanager
    def crowded(self, partition: str = "urgent", cpus: int = 16) -> Iterator[str]:
        """A job that takes CPUs of the node while the block runs, so that jobs of `preempt` have to go; its id."""
        job_id = self.sbatch("sleep 600", "-p", partition, "-c", cpus, "-o", "/dev/null")
        try:
            yield job_id
        finally:
            self.cancel(job_id)

    def pids(self, job_id: object, program: str = "python") -> list[int]:
        """Processes of a job whose program's name begins so."""
        number = self.job_info(job_id)["JobId"]
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and (environment := _environment(entry)) is not None:
                of_job = (
                    f"SLURM_JOB_ID={number}" in environment and f"SLURM_CONF={self.env['SLURM_CONF']}" in environment
                )
                if of_job and _name(entry).startswith(program):
                    found.append(int(entry.name))
        return sorted(found)

    def stop_scheduler(self) -> None:
        """Ends slurmctld by TERM; jobs go on."""
        subprocess.run([HERE / "down", self.folder, "--stop", "slurmctld"], check=True, timeout=UP_LIMIT_S)

    def start_scheduler(self) -> None:
        """Starts slurmctld again, and whatever else has died."""
        subprocess.run([HERE / "up", self.folder], check=True, timeout=UP_LIMIT_S, stdout=subprocess.DEVNULL)


def start_lab(folder: Path, nodes: int = 1) -> Lab:
    """Starts a SLURM whose state lies in `folder`; end it with `stop_lab`, also where this failed."""
    done = subprocess.run([HERE / "up", folder, str(nodes)], capture_output=True, text=True, timeout=UP_LIMIT_S)
    assert done.returncode == 0, done.stdout + done.stderr
    real = folder.resolve()
    search = (str(ROOT), os.environ.get("PYTHONPATH", ""))
    environment = {
        "SLURM_CONF": str(real / "etc" / "slurm.conf"),
        "SLURM_LAB_DIR": str(real),
        "PATH": os.pathsep.join((*SBIN, os.environ.get("PATH", ""))),
        "PYTHONPATH": os.pathsep.join(entry for entry in search if entry),
    }
    return Lab(real, environment)


def stop_lab(folder: Path) -> None:
    """Ends jobs and daemons and deletes the folder."""
    subprocess.run([HERE / "down", folder, "--rm"], timeout=UP_LIMIT_S)


def _environment(process: Path) -> set[str] | None:
    try:
        return set((process / "environ").read_bytes().decode(errors="replace").split("\0"))
    except OSError:
        return None


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return ""
