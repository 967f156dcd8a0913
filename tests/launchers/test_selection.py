"""Command lines of the launchers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from launchers.ledger import Launch, Ledger
from launchers.selection import recorded_overrides, translated

ROOT = Path(__file__).resolve().parents[2]


def run(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("O3V_")}
    command = [sys.executable, "-m", f"launchers.{module}", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200)


def test_what_was_submitted_holds_until_something_else_is_given() -> None:
    ledger = Ledger("s").with_launch(Launch("t", "slurm", ("cluster=slurm_cpu", "seeds=[0]"), None, False))
    assert recorded_overrides(ledger, ["seeds=[1]"]) == ["cluster=slurm_cpu", "seeds=[1]"]
    assert recorded_overrides(Ledger("s"), ["seeds=[1]"]) == ["seeds=[1]"]


def test_nested_brackets() -> None:
    given = "select=[seeds=[0,1],published={a: {b: 1}}]"
    assert translated([given]) == ['select=["seeds=[0,1]","published={a: {b: 1}}"]']
    assert translated(["select=[]"]) == ["select=[]"]
    assert translated(["select=[a.b=[\"x y\"],'c=1']"]) == ["select=['a.b=[\"x y\"]','c=1']"]


def test_a_dry_run_shows_plan_and_batch_files_and_writes_nothing(tmp_path: Path) -> None:
    out = f"paths.output_dir={tmp_path}/out"
    done = run("submit", "study=shapes_voting", "cluster=slurm_1x8", out, "select=[seeds=[0,1]]", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("#!/bin/bash") == 5
    assert "aftercorr:<1>" in done.stdout and "--gpus-per-node=8" in done.stdout
    assert not (tmp_path / "out").exists()


def test_status_before_anything_was_submitted(tmp_path: Path) -> None:
    done = run("status", "study=shapes_voting", f"paths.output_dir={tmp_path}", "select=[seeds=[0]]", "out=json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert len(told["runs"]) == 5 and {item["state"] for item in told["runs"]} == {"never submitted"}


def test_mistakes_are_told_in_one_sentence(tmp_path: Path) -> None:
    unknown = run("submit", "study=shapes_reward", f"paths.output_dir={tmp_path}", "--dry-run")
    assert unknown.returncode == 2 and "shapes_rewards" in unknown.stderr and "Traceback" not in unknown.stderr
    arm = run("cancel", "study=shapes_rewards", f"paths.output_dir={tmp_path}", "arms=[o4]")
    assert arm.returncode == 2 and "o4" in arm.stderr
