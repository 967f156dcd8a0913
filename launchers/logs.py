"""Why a job ended, from its log."""

from __future__ import annotations

import re
from pathlib import Path

TAIL_BYTES = 200_000
ERROR_LINE = re.compile(r"^(?:[\w.]+\.)?(\w*(?:Error|Exception|Interrupt|Interrupted|Exit|Warning)\w*)(:.*)?$")
SCHEDULER_LINE = re.compile(r"^(?:slurmstepd|srun): (?:error: )?(.*)$")

TELLING = re.compile(r"task \d|CANCELLED|limit|oom|memory", re.IGNORECASE)
"""What a line of SLURM's daemons holds that says why, and not only that, a job ended."""


def last_error(text: str) -> str | None:
    r"""The last exception of a log in one line, else the last complaint of SLURM's daemons, else None.

    Example:
        >>> last_error("Traceback (most recent call last):\n  File x\no3v.errors.DataError: a.json: no root\n")
        'DataError: a.json: no root'
        >>> last_error("slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2026 DUE TO TIME LIMIT ***\n")
        '*** JOB 7 ON n1 CANCELLED AT 2026 DUE TO TIME LIMIT ***'
        >>> last_error("all is well\n")
    """
    lines = text.splitlines()
    start = max((at for at, line in enumerate(lines) if line.startswith("Traceback (most recent")), default=None)
    if start is not None:
        for line in lines[start + 1 :]:
            found = ERROR_LINE.match(line)
            if found:
                return f"{found.group(1)}{found.group(2) or ''}"
            if line and not line.startswith((" ", "\t")):
                return line  # an exception whose name says nothing
    said = [found.group(1) for line in lines if (found := SCHEDULER_LINE.match(line))]
    telling = [line for line in said if TELLING.search(line)]
    return (telling or said or [None])[-1]


def error_in(log: str | None) -> str | None:
    """`last_error` of a job's log, of the first process that has one; None where there is no log or no error in it."""
    if log is None:
        return None
    path = Path(log)
    logs = sorted(path.parent.glob(path.name.replace("_0_log", "_*_log")), key=lambda item: (len(item.name), item.name))
    return next((error for item in logs if (error := last_error(_tail(item)))), None)


def _tail(path: Path) -> str:
    with path.open("rb") as handle:
        handle.seek(0, 2)
        handle.seek(max(0, handle.tell() - TAIL_BYTES))
        return handle.read().decode("utf-8", errors="replace")
