"""The reason of a failure, from logs as jobs write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from launchers.logs import error_in, last_error

CHAINED = """\
submitit INFO (2026-11-22 21:00:00,000) - Starting with JobEnvironment(job_id=5_1)
Traceback (most recent call last):
  File "a.py", line 1, in f
ValueError: first

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "b.py", line 2, in g
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB
2026-11-22 21:00:01 INFO o3v: closing
srun: error: n1: task 0: Exited with exit code 1
"""
KILLED = """\
batch 3
srun: error: vm: task 0: Killed
srun: Terminating StepId=28.0
slurmstepd: error: *** STEP 28.0 ON vm CANCELLED AT 2026-11-22T21:50:00 ***
srun: error: Timed out waiting for job step to complete
srun: Force Terminated StepId=28.0
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (CHAINED, "OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB"),
        ("Traceback (most recent call last):\n  File x\nKeyError: 'a'\n", "KeyError: 'a'"),
        ("Traceback (most recent call last):\n  File x\npkg.Strange: odd\n", "pkg.Strange: odd"),
        (
            "Traceback (most recent call last):\n  File x\n  raise KeyboardInterrupt\nKeyboardInterrupt\n",
            "KeyboardInterrupt",
        ),
        (
            "slurmstepd: error: Detected 1 oom_kill event in StepId=7.0. Some tasks have been OOM Killed.\n",
            "Detected 1 oom_kill event in StepId=7.0. Some tasks have been OOM Killed.",
        ),
        (KILLED.split("slurmstepd")[0], "vm: task 0: Killed"),
        ("Traceback (most recent call last):\n  File x, cut off", None),
        ("", None),
    ],
)
def test_the_last_error(text: str, expected: str | None) -> None:
    assert last_error(text) == expected


def test_the_first_process_with_an_error_speaks(tmp_path: Path) -> None:
    for rank, text in (
        (0, "fine\n"),
        (1, "Traceback (most recent call last):\n  x\nValueError: rank 1\n"),
        (10, CHAINED),
    ):
        (tmp_path / f"5_1_{rank}_log.out").write_text(text)
    assert error_in(str(tmp_path / "5_1_0_log.out")) == "ValueError: rank 1"
    assert error_in(str(tmp_path / "6_0_log.out")) is None
    assert error_in(None) is None


def test_a_long_log_is_read_from_its_end(tmp_path: Path) -> None:
    log = tmp_path / "5_0_log.out"
    log.write_text("x" * 3_000_000 + "\nTraceback (most recent call last):\n  x\nValueError: late\n")
    assert error_in(str(log)) == "ValueError: late"
