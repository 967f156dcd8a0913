"""plan.json: written whole, read back, guarded."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from launchers.jobs import Job
from launchers.ledger import PLAN, Launch, Ledger, locked, read_ledger, write_ledger
from o3v.errors import DataError, StorageError

JOB = Job("rl-1", "rl", ("a", "b"), (0, 1), "slurm", "5_0", "/log", "4_0", 0)
LAUNCH = Launch("2026-11-22T21:00:00+00:00", "slurm", ("cluster=slurm_cpu",), "abc", True)


def test_it_comes_back_as_it_was(tmp_path: Path) -> None:
    ledger = Ledger("s").with_launch(LAUNCH).with_jobs(JOB)
    write_ledger(tmp_path, ledger)
    assert read_ledger(tmp_path, "s") == ledger
    assert ledger.launches[0].jobs == {"rl-1": "5_0"}


def test_a_new_job_replaces_the_old_one_and_the_history_stays(tmp_path: Path) -> None:
    from dataclasses import replace

    first = Ledger("s").with_launch(LAUNCH).with_jobs(JOB)
    second = first.with_launch(LAUNCH).with_jobs(replace(JOB, id="9", launch=1))
    assert second.jobs["rl-1"].id == "9"
    assert [launch.jobs["rl-1"] for launch in second.launches] == ["5_0", "9"]


def test_nothing_submitted_is_an_empty_plan(tmp_path: Path) -> None:
    assert read_ledger(tmp_path, "s") == Ledger("s")


@pytest.mark.parametrize(
    "text", ["{", "{}", '{"version": 2}', '{"version": 1, "study": "s", "jobs": {}, "launches": [3]}']
)
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / PLAN).write_text(text)
    with pytest.raises(DataError, match="plan"):
        read_ledger(tmp_path, "s")


def test_a_job_of_another_key_is_refused(tmp_path: Path) -> None:
    write_ledger(tmp_path, Ledger("s").with_launch(LAUNCH).with_jobs(JOB))
    content = json.loads((tmp_path / PLAN).read_text())
    content["jobs"]["other"] = content["jobs"].pop("rl-1")
    (tmp_path / PLAN).write_text(json.dumps(content))
    with pytest.raises(DataError):
        read_ledger(tmp_path, "s")


def test_two_submits_at_once(tmp_path: Path) -> None:
    waited = []

    def wait() -> None:
        with locked(tmp_path, wait=True):
            waited.append(True)

    with locked(tmp_path):
        with pytest.raises(StorageError, match="another submit"), locked(tmp_path):
            pass
        thread = threading.Thread(target=wait)
        thread.start()
        thread.join(0.2)
        assert not waited
    thread.join(5)
    assert waited
