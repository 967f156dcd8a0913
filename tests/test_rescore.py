"""python -m o3v.rescore as a command: no torch, quick, the documented files; explanations and comparisons."""

import gzip
import json
import os
import re
import subprocess
import sys
import time

import pytest

from o3v.replay.files import write_lines
from o3v.types import Task
from tests import tiny
from tests.replay.rollouts import fields_of
from tests.rewards.golden_lines import SMALL, TERMS
from tests.video.clips import write_clip

WITHOUT_TORCH = """
import runpy, sys
sys.argv = ["o3v.rescore", *sys.argv[1:]]
try:
    runpy.run_module("o3v.rescore", run_name="__main__", alter_sys=True)
except SystemExit as stop:
    assert not stop.code, stop.code
heavy = {"torch", "transformers", "lightning", "mlflow", "nltk", "scipy", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
"""


def rescore(*arguments, code=("-m", "o3v.rescore")):
    environment = os.environ | {"COLUMNS": "200", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *code, *map(str, arguments)]
    return subprocess.run(command, cwd=tiny.CONF.parent, env=environment, capture_output=True, text=True)


def test_scores_and_comparison_without_torch(tmp_path):
    out = tmp_path / "scores.jsonl"
    arguments = (f"rollouts={SMALL}", "reward=o3", "reward_b=no_gate", f"out={out}", "shown=3")
    begin = time.perf_counter()
    done = rescore(*arguments, code=("-c", WITHOUT_TORCH))
    assert done.returncode == 0, done.stderr
    assert time.perf_counter() - begin < 10.0  # starts in about one second on an idle core
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    golden = [json.loads(line) for line in gzip.decompress(SMALL.read_bytes()).splitlines()]
    assert [line["id"] for line in lines] == [line["id"] for line in golden]
    for line, source in zip(lines, golden, strict=True):
        assert tuple(line["reward"]) == tuple(line["reward_b"]) == TERMS
        count = len(source["completions"])
        assert all(len(row) == count for row in line["reward"].values()) and len(line["total"]) == count
        assert line["total"] == [pytest.approx(sum(row[g] for row in line["reward"].values())) for g in range(count)]
    summary = json.loads((tmp_path / "scores.summary.json").read_text())
    assert summary["reward_b"]["gate_open"] > summary["reward"]["gate_open"]
    assert summary["reward_b"]["terms"]["thk_spatial"]["mean"] > summary["reward"]["terms"]["thk_spatial"]["mean"]
    assert 0.9 < summary["comparison"]["spearman_overall"] < 1.0
    assert len(summary["comparison"]["disagreements"]) == 3
    assert re.search(r"\d+ completions/s", done.stdout)


def test_a_core_scores_thousands_a_second():
    """CPU time, so that neighbours on a busy machine do not count; about 9,000 were measured."""
    from o3v.replay.format import read_rollouts
    from o3v.replay.run import Replay
    from tests.rewards import configured

    replay = Replay([configured.mix("o3")], 5)
    begin = time.process_time()
    for _ in range(3):
        for _line in replay.lines((group, group.progress) for group in read_rollouts(SMALL)):
            pass
    rate = replay.summary()["completions"] / (time.process_time() - begin)
    assert rate > 2000, f"{rate:.0f} completions/s of CPU time"


def test_explanation_with_a_picture(tmp_path):
    video = write_clip(tmp_path / "v.mp4", [float(k) for k in range(6)])
    rollouts = tmp_path / "rollouts.jsonl"
    write_lines(rollouts, [fields_of(Task.TEMPORAL_SPATIAL, line_id="3/0/x", video_path=video)])
    done = rescore(f"rollouts={rollouts}", "explain=3/0/x/1", f"out={tmp_path}/pictures")
    assert done.returncode == 0, done.stderr
    for words in ("4.5 s", "1.5 s from the key frame at 3 s", "thk_spatial", "Claims of the reasoning", "total"):
        assert words in done.stdout
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["3-0-x-1.png"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("reward=o3",), "rollouts has no value"),
        (("rollouts=gone.jsonl",), "gone.jsonl"),
        ((f"rollouts={SMALL}", "reward_b=no_gte"), "did you mean 'no_gate'"),
        ((f"rollouts={SMALL}", f"out={SMALL}"), "is the file of the rollouts itself"),
        ((f"rollouts={SMALL}", "explain=nothing"), "no such id among"),
        ((f"rollouts={SMALL}", "shown=-1"), "shown=-1"),
    ],
)
def test_mistakes_are_one_message(arguments, words):
    done = rescore(*arguments)
    assert done.returncode == 2
    assert words in done.stderr and "Traceback" not in done.stderr


def test_progress_comes_from_the_line_or_the_key(tmp_path):
    rollouts = tmp_path / "r.jsonl"
    write_lines(rollouts, [fields_of(Task.TEMPORAL_SPATIAL, progress=None)])
    assert "step_percent; give progress=" in rescore(f"rollouts={rollouts}").stderr
    values = {}
    for progress in (0.0, 1.0):
        out = tmp_path / f"{progress}.jsonl"
        assert rescore(f"rollouts={rollouts}", f"out={out}", f"progress={progress}").returncode == 0
        values[progress] = json.loads(out.read_text())["reward"]["thk_temporal_point"][1]
    assert values[0.0] > values[1.0] > 0.0
