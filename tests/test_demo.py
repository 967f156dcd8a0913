"""The demo as a command, every stage cut short."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests import tiny

STAGES = (
    'sft=["name=sft","trainer.batches=2","trainer.prompts_per_device=4"]',
    'gspo=["name=gspo","objective=gspo","trainer.batches=1","trainer.prompts_per_device=2"]',
    'evaluation=["rollout=greedy","benchmark.n_per_task=4"]',
)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_it_runs_its_stages_reports_and_does_nothing_twice(tmp_path):
    command = [sys.executable, "-m", "o3v.demo", "seeds=[1]", *STAGES]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "O3V_OUT": str(tmp_path)}
    for _ in range(2):
        done = subprocess.run(command, cwd=tiny.CONF.parent, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "SFT + GSPO, seed 1" in done.stdout
    runs = {path.parent.name.rsplit("-", 1)[0] for path in tmp_path.glob("*/DONE.json")}
    assert runs == {"sft", "gspo", "sft_longer", "eval_base", "eval_sft", "eval_gspo", "eval_sft_longer"}
    assert (tmp_path / "demo" / "evidence.png").is_file()
    assert json.loads((tmp_path / "demo" / "report.json").read_text())
