"""Recorded texts of squeue and sacct (SLURM 22.05.8), and the environment around sbatch."""

from __future__ import annotations

import os

import pytest

from launchers import scheduler
from launchers.scheduler import outside_any_job, parse_sacct, parse_squeue, query, seconds
from o3v.errors import ServiceError

SQUEUE = """\
3|CANCELLED|DependencyNeverSatisfied|0:00|1:00:00|2026-11-22T21:31:19
1|FAILED|NonZeroExitCode|0:01|59:59|2026-11-22T21:31:18
2_1|PENDING|JobArrayTaskLimit|0:00|1:00:00|N/A
4|PENDING|DependencyNeverSatisfied|0:00|1:00:00|N/A
5_2|PENDING|launch failed requeued held|0:00|1:00:00|2026-11-22T21:31:18
2_0|RUNNING|None|0:02|59:58|2026-11-22T21:31:18
6|PENDING|BeginTime|0:00|UNLIMITED|2026-11-22T21:40:00
"""
SACCT = """\
1|FAILED|3:0|00:00:01|2026-11-22T21:31:18|None
3|CANCELLED by 0|0:0|00:00:00|2026-11-22T21:31:19|Dependency
3.batch|CANCELLED|0:0|00:00:00|2026-11-22T21:31:19|
4|PENDING|0:0|00:00:00|Unknown|DependencyNeverSatisfied
7_1|OUT_OF_MEMORY|0:125|01:02:03|2026-11-22T21:31:18|None
8|COMPLETED|0:0|1-00:00:00|2026-11-22T21:31:18|None
9|PENDING|0:0|00:00:00|Unknown|None
"""


def test_squeue_is_read() -> None:
    found = parse_squeue(SQUEUE + "not a line\n")
    assert found["2_0"].is_running and found["2_0"].left_s == 3598 and found["2_0"].ran
    assert found["2_1"].is_waiting and not found["2_1"].ran
    assert found["4"].is_stuck and not found["4"].is_waiting
    assert found["5_2"].is_stuck
    assert found["6"].is_waiting and found["6"].left_s is None
    assert not found["3"].ran and not found["3"].is_waiting and not found["3"].is_running
    assert found["1"].ran and len(found) == 7


def test_sacct_is_read() -> None:
    found = parse_sacct(SACCT)
    assert found["1"].reason == "exit code 3:0"
    assert found["3"].state == "CANCELLED" and not found["3"].ran
    assert found["7_1"].state == "OUT_OF_MEMORY" and found["7_1"].used_s == 3723
    assert found["8"].reason == "" and found["8"].used_s == 86400
    assert found["4"].is_stuck and len(found) == 6


@pytest.mark.parametrize(("text", "expected"), [("59:58", 3598), ("1:00:00", 3600), ("2-03:00:00", 183600), ("", None)])
def test_times(text: str, expected: int | None) -> None:
    assert seconds(text) == expected


def fake(folder, name: str, text: str, code: int = 0, says: str = "") -> None:
    (folder / name).write_text(f"#!/bin/sh\ncat <<'END'\n{text}END\n" + f"echo '{says}' >&2\nexit {code}\n")
    (folder / name).chmod(0o755)


def test_sacct_is_asked_for_what_squeue_forgot_and_may_be_missing(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    fake(tmp_path, "squeue", SQUEUE)
    fake(tmp_path, "sacct", SACCT)
    assert set(query(["2_0", "7_1", "77"])) == {"2_0", "7_1"}
    fake(tmp_path, "sacct", "", 1, "Slurm accounting storage is disabled")
    assert set(query(["2_0", "7_1"])) == {"2_0"}
    fake(tmp_path, "squeue", "", 1, "slurm_load_jobs error: Invalid job id specified")
    assert query(["7"]) == {}


def test_a_dead_controller_is_no_empty_queue(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    fake(tmp_path, "squeue", "", 1, "slurm_load_jobs error: Unable to contact slurm controller (connect failure)")
    with pytest.raises(ServiceError, match="Unable to contact"):
        query(["7"])
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ServiceError, match="no login node"):
        query(["7"])
    assert query([]) == {}


def test_a_job_of_a_job_inherits_nothing_but_the_cluster(monkeypatch) -> None:
    monkeypatch.setenv("SLURM_CONF", "/etc/one.conf")
    monkeypatch.setenv("SLURM_MEM_PER_CPU", "100")
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    with outside_any_job():
        assert os.environ["SLURM_CONF"] == "/etc/one.conf"
        assert "SLURM_MEM_PER_CPU" not in os.environ and "SUBMITIT_EXECUTOR" not in os.environ
    assert os.environ["SLURM_MEM_PER_CPU"] == "100"
    assert scheduler.CLUSTER_VARIABLES[0] == "SLURM_CONF"
