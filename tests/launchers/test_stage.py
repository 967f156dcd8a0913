"""What happens on the node, here in this process."""

from __future__ import annotations

import pickle
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from launchers import stage
from launchers.stage import StageJob, StageNotDoneError, changed_code, check_needs, stage_job, work_of
from o3v.compose import compose_command
from o3v.errors import ConfigError
from o3v.study import run_key
from tests.launchers.standin import StandInError
from tests.launchers.studies import chain


def job(tmp_path: Path, key: str, *overrides: str) -> StageJob:
    study = chain(tmp_path, {"a": {}}, seeds=(0,))
    made = stage_job(study.runs[key], study.runs, ["logger.parent=x"], "abc")
    return replace(made, overrides=(*made.overrides, *overrides))


def test_a_stage_runs_once(tmp_path: Path) -> None:
    first = job(tmp_path, "sft-0")
    assert first()["steps"] == 2
    written = (tmp_path / "sft-0" / "DONE.json").stat().st_mtime_ns
    assert first()["steps"] == 2
    assert (tmp_path / "sft-0" / "DONE.json").stat().st_mtime_ns == written


def test_a_stage_before_its_parent_refuses(tmp_path: Path) -> None:
    with pytest.raises(StageNotDoneError, match=r"stage sft is not done: .*sft-0/DONE\.json"):
        job(tmp_path, "rl-a-0")()
    assert not (tmp_path / "rl-a-0").exists()
    job(tmp_path, "sft-0")()
    assert job(tmp_path, "rl-a-0")()["steps"] == 2


def test_an_unchecked_upstream_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "check_needs", lambda needs: None)
    with pytest.raises(pytest.fail.Exception), pytest.raises(StageNotDoneError):
        job(tmp_path, "rl-a-0")()


def test_what_fails_fails_and_goes_on(tmp_path: Path) -> None:
    repair = tmp_path / "repaired"
    failing = job(tmp_path, "sft-0", f"fail_unless={repair}")
    with pytest.raises(StandInError):
        failing()
    repair.touch()
    assert failing()["resumed_from"] == 1


def test_a_signal_ends_it_at_a_step_and_it_goes_on(tmp_path: Path) -> None:
    asked = job(tmp_path, "sft-0", f"signal={int(signal.SIGTERM)}")
    with pytest.raises(SystemExit) as ended:
        asked()
    assert ended.value.code == 128 + signal.SIGTERM
    assert asked()["resumed_from"] == 1


def test_submitit_gets_the_same_job_again(tmp_path: Path) -> None:
    made = job(tmp_path, "sft-0")
    delayed = made.checkpoint()
    assert delayed.function == made and delayed.args == ()
    assert b"standin" in pickle.dumps(made) and pickle.loads(pickle.dumps(made)) == made


def test_commands_are_functions_of_a_composed_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import o3v.train

    seen = []

    def run(cfg):
        seen.append(cfg)
        return {"loss": 1.0}

    monkeypatch.setattr(o3v.train, "run", run)
    out = f"paths.output_dir={tmp_path}"
    key = run_key("train", compose_command("train", [out, "seed=7"]))
    assert work_of("train")([out, "seed=7"], str(tmp_path / key)) == {"loss": 1.0}
    assert seen[0].seed == 7
    with pytest.raises(ConfigError, match="on this node the configuration is that of run train-"):
        work_of("train")([out], str(tmp_path / key))
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("overrides", "submitted", "commit", "expected"),
    [
        (["logger.tags={arm:a}"], "abc", "abc", []),
        (["logger.tags={arm:a}"], "abc", "def", ["+logger.tags.submitted_commit=abc"]),
        (["logger.tags={arm:a}"], None, "def", []),
        (["logger=none"], "abc", None, []),
    ],
)
def test_other_code_than_submitted_is_told(overrides, submitted, commit, expected, caplog) -> None:
    assert changed_code(overrides, submitted, {"commit": commit, "dirty": False}) == expected
    assert ("submitted from commit abc" in caplog.text) == (submitted not in (None, commit))


def test_nothing_needed_is_nothing_to_check() -> None:
    check_needs({})
