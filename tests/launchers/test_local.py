"""Studies on this machine: true processes of submitit's local executor, and this process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from launchers.cancel import cancel_study
from launchers.launch import launch, show_plan
from launchers.ledger import read_ledger
from launchers.local import is_alive, start_time, stop_process
from launchers.states import RunState, job_states, study_states
from o3v.errors import StorageError
from o3v.study import Study
from tests.launchers.studies import INLINE, LOCAL, chain


def states_of(study: Study) -> dict[str, RunState]:
    ledger = read_ledger(study.folder, study.name)
    return {state.key: state for state in study_states(study, ledger, job_states(ledger))}


@pytest.mark.parametrize("resources", [LOCAL, INLINE], ids=["local", "inline"])
def test_one_arm_fails_and_is_repaired(resources, tmp_path: Path) -> None:
    repair = tmp_path / "repaired"
    arms = {"a": {}, "b": {"rl": [f"fail_unless={repair}"]}}
    study = chain(tmp_path, arms, seeds=(0,), resources=resources)
    with pytest.raises(SystemExit):
        launch(study, [])
    states = states_of(study)
    assert {key for key, state in states.items() if state.state == "done"} == {"sft-0", "rl-a-0", "eval-a-0"}
    assert states["rl-b-0"].state == "failed"
    assert states["eval-b-0"].state == "will never run"
    if resources is LOCAL:
        assert states["rl-b-0"].reason == "StandInError: rl-b-0 was made to fail"
    repair.touch()
    assert launch(study, []) == 2
    assert {state.state for state in states_of(study).values()} == {"done"}
    assert launch(study, []) == 0


DRIVER = """
import sys
from pathlib import Path
from launchers.launch import launch
from tests.launchers.studies import LOCAL, chain
arms = {"a": {"sft": ["steps=900", "step_s=0.1"]}}
launch(chain(Path(sys.argv[1]), arms, seeds=(0, 1, 2), stages=("sft", "rl"), resources=LOCAL), [])
"""


def test_running_waiting_and_cancelled(tmp_path: Path) -> None:
    study = chain(tmp_path, {"a": {}}, seeds=(0, 1, 2), stages=("sft", "rl"), resources=LOCAL)
    root = str(Path(__file__).resolve().parents[2])
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(tmp_path)], cwd=root, env=os.environ | {"PYTHONPATH": root}
    )
    try:
        until = time.monotonic() + 60
        while sum(state.state == "running" and state.done is not None for state in states_of(study).values()) < 2:
            assert time.monotonic() < until and driver.poll() is None
            time.sleep(0.1)
        words = [state.state for state in states_of(study).values()]
        assert words.count("running") == 2 and words.count("waiting") == 4
        with pytest.raises(StorageError, match="runs this study"):
            launch(chain(tmp_path, {"a": {}, "b": {}}, seeds=(3,), resources=LOCAL), [])
        assert set(cancel_study(study.folder, "study", None)) == {"sft-0", "sft-1"}
        driver.wait(30)
    finally:
        driver.kill()
    jobs = read_ledger(study.folder, "study").jobs
    assert not any(job.id and is_alive(int(job.id), job.started) for job in jobs.values())
    ended = states_of(study)
    assert ended["sft-0"].reason == "cancelled by launchers.cancel"
    assert ended["rl-a-0"].state == "will never run" and ended["sft-2"].state == "never submitted"


def test_a_process_is_ended_with_its_children() -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    parent = subprocess.Popen([sys.executable, "-c", code])
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    until = time.monotonic() + 20
    while not children.read_text() and time.monotonic() < until:
        time.sleep(0.05)
    child = int(children.read_text().split()[0])
    ticks = start_time(child)
    stop_process(parent.pid, start_time(parent.pid))
    parent.wait(20)
    while is_alive(child, ticks) and time.monotonic() < until + 20:
        time.sleep(0.05)
    assert not is_alive(child, ticks)


def test_another_process_of_the_same_id_is_not_ours() -> None:
    assert is_alive(os.getpid(), start_time(os.getpid()))
    assert not is_alive(os.getpid(), 1)
    assert not is_alive(os.getpid(), None)
    stop_process(os.getpid(), 1)  # must leave this test alone


def test_a_plan_is_shown_without_writing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = chain(tmp_path, {"a": {}}, seeds=(0,), resources=LOCAL)
    assert show_plan(study) == 3
    assert "rl-a-0" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
