"""What SLURM says of jobs: squeue first, which is up to date, then sacct for those that it has forgotten.

Both answer in plain text, read here by pure functions. A cluster without accounting has no sacct: then a job that
squeue has forgotten is unknown, and the run's folder and the job's log tell the rest.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from launchers.jobs import JobState
from o3v.errors import ServiceError

log = logging.getLogger(__name__)

SQUEUE_FIELDS = "%i|%T|%r|%M|%L|%S"
SACCT_FIELDS = "JobID,State,ExitCode,Elapsed,Start,Reason"
TIMEOUT_S = 60
CLUSTER_VARIABLES = ("SLURM_CONF", "SLURM_LAB_DIR")
"""Variables that say which cluster is meant; everything else of a job's environment must not reach another job."""


@contextmanager
def outside_any_job() -> Iterator[None]:
    """The environment without what a job of SLURM or submitit put there, so that sbatch also works within a job.

    Inside, sbatch would otherwise pass on the outer job's sizes, and srun would refuse ("Step requested GRES but job
    doesn't have GRES", "SLURM_MEM_PER_CPU, ... are mutually exclusive").
    """
    from submitit.helpers import clean_env

    kept = {name: os.environ[name] for name in CLUSTER_VARIABLES if name in os.environ}
    with clean_env():
        os.environ.update(kept)
        yield


def query(ids: Sequence[str]) -> dict[str, JobState]:
    """States by job id (`52`, `52_0`); a job of which nobody knows anything is left out.

    Raises:
        ServiceError: SLURM's controller does not answer, or its commands are not installed.
    """
    if not ids:
        return {}
    jobs = ",".join(sorted({job_id.split("_")[0] for job_id in ids}, key=int))
    queue = _run(["squeue", "--noheader", "--array", "--states=all", f"--format={SQUEUE_FIELDS}", f"--jobs={jobs}"])
    if queue.returncode and "Invalid job id" not in queue.stderr:
        raise ServiceError(f"squeue does not answer: {queue.stderr.strip() or queue.returncode}")
    found = parse_squeue(queue.stdout)
    if any(job_id not in found for job_id in ids):
        history = _run(["sacct", "-n", "-P", "-X", f"--format={SACCT_FIELDS}", f"--jobs={jobs}"])
        if history.returncode:
            log.debug("no accounting: %s", history.stderr.strip())
        else:
            found = {**parse_sacct(history.stdout), **found}
    return {job_id: found[job_id] for job_id in ids if job_id in found}


def cancel(ids: Sequence[str]) -> None:
    """End jobs, queued or running; ids that SLURM no longer knows are nothing to complain about.

    Raises:
        ServiceError: SLURM's controller does not answer.
    """
    for start in range(0, len(ids), 100):
        done = _run(["scancel", *ids[start : start + 100]])
        if done.returncode and "Invalid job id" not in done.stderr:
            raise ServiceError(f"scancel: {done.stderr.strip() or done.returncode}")


def parse_squeue(text: str) -> dict[str, JobState]:
    """States by job id from lines of `SQUEUE_FIELDS`.

    Example:
        >>> parse_squeue("52_1|PENDING|Dependency|0:00|1:00:00|N/A")["52_1"].reason
        'Dependency'
    """
    found = {}
    for line in text.splitlines():
        parts = line.split("|")
        if len(parts) == 6:
            job_id, state, reason, used, left, start = parts
            reason = "" if reason == "None" else reason
            ran = start not in ("N/A", "") and not _was_never_started(state, seconds(used))
            found[job_id] = JobState(state, reason, seconds(used), seconds(left), ran)
    return found


def parse_sacct(text: str) -> dict[str, JobState]:
    """States by job id from lines of `SACCT_FIELDS`; of a job with several lines the last counts.

    An array that has just ended may still be one line without `_0`, which is nobody's id here.

    Example:
        >>> parse_sacct("7|CANCELLED by 0|0:0|00:00:00|None|Dependency")["7"].state
        'CANCELLED'
    """
    found = {}
    for line in text.splitlines():
        parts = line.split("|")
        if len(parts) == 6 and parts[0] and "." not in parts[0]:
            job_id, state, code, used, start, reason = parts
            why = reason if state.startswith(("PENDING", "CANCELLED")) else f"exit code {code}"
            why = "" if why in ("None", "exit code 0:0") else why
            ran = start not in ("None", "Unknown", "") and not _was_never_started(state, seconds(used))
            found[job_id] = JobState(state.split(" ")[0], why, seconds(used), None, ran)
    return found


def _was_never_started(state: str, used_s: int | None) -> bool:
    """SLURM gives a job that is cancelled in the queue a start, that of its end."""
    return state.startswith("CANCELLED") and not used_s


def seconds(text: str) -> int | None:
    """Seconds of `D-HH:MM:SS`, `HH:MM:SS` or `MM:SS`; None for a word such as UNLIMITED.

    Example:
        >>> seconds("1-02:00:03"), seconds("5:07"), seconds("NOT_SET")
        (93603, 307, None)
    """
    match = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", text.strip())
    if match is None:
        return None
    days, hours, minutes, rest = (int(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + rest


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    if shutil.which(command[0]) is None:
        raise ServiceError(f"{command[0]} was not found: this is no login node of a SLURM cluster")
    environment: Mapping[str, str] = {**os.environ, "SLURM_TIME_FORMAT": "standard"}
    try:
        return subprocess.run(
            list(command), capture_output=True, text=True, timeout=TIMEOUT_S, env=environment, check=False
        )
    except subprocess.TimeoutExpired:
        raise ServiceError(f"{command[0]} did not answer within {TIMEOUT_S} s") from None
