"""What a run ran on, as files beside its results: code, packages, hardware, driver, job."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from o3v.tracking.run import RunFolder, git_state, storage, write_atomically

MAX_DIFF_BYTES = 1_000_000
JOB_VARIABLES = {
    "job_id": "SLURM_JOB_ID",
    "array_job_id": "SLURM_ARRAY_JOB_ID",
    "array_task_id": "SLURM_ARRAY_TASK_ID",
    "nodes": "SLURM_JOB_NODELIST",
    "partition": "SLURM_JOB_PARTITION",
    "restarts": "SLURM_RESTART_COUNT",
}


def write_circumstances(folder: RunFolder, root: Path) -> list[Path]:
    """Writes what this start of a run runs on, and returns the files.

    environment.json: Python, packages, machine, GPUs and driver. git.json and, of a working tree that differs from its
    commit, code.diff (cut at 1 MB, which its last line says). Under SLURM batch/<job>.sh, the batch script, and
    jobs.jsonl with a line for every start of the run. Takes about 0.1 s, more where SLURM has to be asked.

    Args:
        folder: of the run; exists.
        root: a folder of the working tree.

    Raises:
        StorageError: the folder cannot be written.
    """
    files = [folder.write_json("environment.json", environment())]
    git = git_state(root)
    files.append(folder.write_json("git.json", git))
    if git["dirty"]:
        write_atomically(folder.path / "code.diff", git_diff(root))
        files.append(folder.path / "code.diff")
    return files + _job_files(folder)


def environment() -> dict[str, Any]:
    """Python, platform, installed packages with versions, processors, memory, GPUs and their driver."""
    found = ((item.metadata["Name"], item.version) for item in importlib.metadata.distributions())
    return {
        "python": sys.version,
        "platform": platform.platform(),
        "host": platform.node(),
        "cpu": _first_value(Path("/proc/cpuinfo"), "model name") or platform.processor(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory": _first_value(Path("/proc/meminfo"), "MemTotal"),
        "gpus": _output("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"),
        "packages": dict(sorted((name, version) for name, version in found if name)),
    }


def git_diff(root: Path) -> str:
    """Difference of tracked files to the commit, cut after `MAX_DIFF_BYTES`; empty outside a repository."""
    done = _run("git", "-C", str(root), "diff", "--no-color", "--no-ext-diff", "HEAD")
    if len(done) <= MAX_DIFF_BYTES:
        return done.decode(errors="replace")
    return done[:MAX_DIFF_BYTES].decode(errors="replace") + f"\n[cut: {len(done)} bytes in all]\n"


def job(variables: Mapping[str, str]) -> dict[str, str]:
    """The SLURM job that the variables of a process speak of; empty outside of one.

    >>> job({"SLURM_JOB_ID": "17", "SLURM_ARRAY_TASK_ID": "2", "HOME": "/root"})
    {'job_id': '17', 'array_task_id': '2'}
    """
    return {key: variables[name] for key, name in JOB_VARIABLES.items() if name in variables}


def batch_path(variables: Mapping[str, str]) -> Path | None:
    """The batch script that a launcher named in O3V_BATCH_FILE: `%j`, `%A`, `%a` stand for job, array and task.

    >>> batch_path({"O3V_BATCH_FILE": "/logs/%A_submission.sh", "SLURM_JOB_ID": "18", "SLURM_ARRAY_JOB_ID": "17"})
    PosixPath('/logs/17_submission.sh')
    >>> batch_path({}) is None
    True
    """
    named = variables.get("O3V_BATCH_FILE")
    if not named:
        return None
    alone = variables.get("SLURM_JOB_ID", "")
    values = {"%j": alone, "%A": variables.get("SLURM_ARRAY_JOB_ID", alone)}
    for sign, value in {**values, "%a": variables.get("SLURM_ARRAY_TASK_ID", "")}.items():
        named = named.replace(sign, value)
    return Path(named)


def _job_files(folder: RunFolder) -> list[Path]:
    this = job(os.environ)
    if not this:
        return []
    jobs = folder.path / "jobs.jsonl"
    with storage(jobs), jobs.open("a", encoding="utf-8") as handle:
        handle.write(json.dumps({"time_s": round(time.time(), 3), "host": platform.node(), **this}) + "\n")
    script = _batch_script(this["job_id"]) if "job_id" in this else ""
    if not script:
        return [jobs]
    copy = folder.path / "batch" / f"{this['job_id']}.sh"
    write_atomically(copy, script)
    return [jobs, copy]


def _batch_script(job_id: str) -> str:
    named = batch_path(os.environ)
    try:
        if named is not None:
            return named.read_text(encoding="utf-8", errors="replace")
    except OSError:
        pass  # not on a disk that this node sees: SLURM keeps a copy
    return _run("scontrol", "write", "batch_script", job_id, "-").decode(errors="replace")


def _first_value(path: Path, key: str) -> str:
    """Value of the first line `key : value` of a file of /proc; empty where there is none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")


def _output(*command: str) -> list[str]:
    return _run(*command).decode(errors="replace").splitlines()


def _run(*command: str) -> bytes:
    """What a program prints; empty where it is not there or fails."""
    try:
        return subprocess.run(command, capture_output=True, check=True, timeout=10).stdout
    except (OSError, subprocess.SubprocessError):
        return b""
