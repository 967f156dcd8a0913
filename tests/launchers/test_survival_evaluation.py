"""An evaluation that SLURM asks to stop leaves between two batches of answers, and ends with the same records."""

import json

import pytest

from tests import commands, tiny
from tests.commands import QUIET, SMALL
from tests.slurm.training import Training, log_of, submit_work

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(400)]

LIMIT_S = 180


def evaluate(overrides, folder):
    """What the job runs: the command `o3v.evaluate`, which waits after its second batch of answers for a signal."""
    import time
    from pathlib import Path

    from o3v.benchmarks import runner
    from o3v.compose import compose_command
    from o3v.evaluate import run
    from o3v.stop import current_stop

    right, gate = runner._stop_if_asked, Path(folder)

    def waits(answers, done, total):
        if done == 2 and not (gate / "open").exists():
            gate.mkdir(parents=True, exist_ok=True)
            (gate / "reached").touch()
            while not current_stop().requested:
                time.sleep(0.05)
            (gate / "open").touch()
        right(answers, done, total)

    runner._stop_if_asked = waits
    return run(compose_command("evaluate", overrides))


def test_an_evaluation_goes_on_after_the_answers_that_it_has(slurm, tmp_path):
    weights = tiny.saved_policy("qwen2_5_vl", tmp_path / "base" / "model", 1.5)
    lines = ("model=tiny_qwen2_5_vl", f"checkpoint={weights}", "logger=jsonl", "batch_size=1", *QUIET, *SMALL)
    commands.run("evaluate", tmp_path / "whole", *lines)
    training = Training(tmp_path, "eval", (f"paths.output_dir={tmp_path / 'cut'}", *lines))
    job = submit_work(training, f"{__name__}:evaluate", training.overrides, tmp_path / "gate")
    slurm.wait((tmp_path / "gate" / "reached").exists, LIMIT_S, "two answers")
    slurm.signal(job)
    slurm.wait(lambda: slurm.restarts(job) == 1 or slurm.state(job) == "PENDING", LIMIT_S, "requeued")
    slurm.release(job)
    slurm.wait_restart(job, timeout_s=LIMIT_S)
    assert slurm.wait_state(job, timeout_s=LIMIT_S) == "COMPLETED", log_of(training, job)
    text = log_of(training, job)
    assert "2 of 6 questions are answered" in text and "2 of 6 answers are there already" in text, text
    assert answers(tmp_path / "cut") == answers(tmp_path / "whole")


def answers(out):
    """Id, text and scores of every record, in the file's order; the rest names the folders."""
    (path,) = out.glob("evaluate-*/records.jsonl")
    records = [json.loads(line) for line in path.read_text().splitlines()]
    return [(record["sample_id"], record["text"], record["scores"]) for record in records]
