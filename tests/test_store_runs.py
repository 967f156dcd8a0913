"""Runs share one store: the second epoch, the second arm and a run at the same time decode nothing again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import commands, tiny
from tests.commands import QUIET, SMALL, run_folder

VIDEOS = 7
"""Rows of `SMALL` about videos; the others are about still images, which pass by the store."""
STEPS = ("trainer.batches=6", "trainer.prompts_per_device=5", "logger=jsonl")  # three epochs of ten rows


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return tiny.saved_policy("qwen2_5_vl", tmp_path_factory.mktemp("base") / "base")


def done(out: Path, name: str) -> dict[str, float]:
    return json.loads((run_folder(out, name) / "DONE.json").read_text())


def train(out: Path, base: Path, *overrides: str) -> None:
    commands.run("train", out, *QUIET, *SMALL, *STEPS, f"init_from={base}", *overrides)


def test_epochs_arms_and_evaluations_decode_each_clip_once(tmp_path, base):
    train(tmp_path, base, "name=first")
    first = done(tmp_path, "first")
    assert (first["store/misses"], first["store/hits"]) == (VIDEOS, 2 * VIDEOS)
    train(tmp_path, base, "name=second", "seed=5", "optim.lr=1e-4")
    second = done(tmp_path, "second")
    assert (second["store/misses"], second["store/hits"]) == (0, 3 * VIDEOS)
    lines = (run_folder(tmp_path, "second") / "metrics.jsonl").read_text()
    assert "train/store/hits" in lines and "train/store/saved_s" in lines
    evaluate = ("logger=jsonl", *QUIET, *SMALL, "rollout.max_new_tokens=4")
    for name, misses in (("eval", 4), ("again", 0)):  # 4 held-out clips
        commands.run("evaluate", tmp_path, *evaluate, f"name={name}", f"checkpoint={run_folder(tmp_path, 'first')}")
        counts = json.loads((run_folder(tmp_path, name) / "store-0.json").read_text())
        assert (counts["store/misses"], counts["store/hits"] + counts["store/misses"]) == (misses, 4)
    assert "eval/store/hits" in (run_folder(tmp_path, "eval") / "metrics.jsonl").read_text()


def test_a_run_is_the_same_with_and_without_a_store(tmp_path, base):
    for out, store in ((tmp_path / "a", "local"), (tmp_path / "b", "none")):
        train(out, base, "name=run", f"store={store}", "trainer.num_workers=1")
    a, b = (run_folder(tmp_path / name, "run") for name in "ab")
    assert a.name == b.name  # the signature does not know the store
    assert commands.metrics(a) == commands.metrics(b)
    weights = [(folder / "model" / "model.safetensors").read_bytes() for folder in (a, b)]
    assert weights[0] == weights[1] and "store/hits" not in done(tmp_path / "b", "run")
    counts = done(tmp_path / "a", "run")
    assert (counts["store/misses"], counts["store/hits"]) == (VIDEOS, 2 * VIDEOS)  # counted in the loader worker


@pytest.mark.slow
def test_two_trainings_at_once_decode_each_clip_once_in_all(tmp_path, base):
    arguments = (*QUIET, *SMALL, *STEPS, f"init_from={base}", "trainer.num_workers=1")
    train(tmp_path, base, "name=data", "store=none", "trainer.batches=1")  # the generated files, made once
    runs = [commands.start("train", tmp_path, *arguments, "name=run", f"seed={seed}") for seed in (1, 2)]
    for run in runs:
        output = run.communicate(timeout=280)[0]
        assert run.returncode == 0, output
    counts = [json.loads((folder / "DONE.json").read_text()) for folder in tmp_path.glob("run-*")]
    assert len(counts) == 2 and sum(count["store/misses"] for count in counts) == VIDEOS
    assert sum(count["store/hits"] for count in counts) == 2 * 3 * VIDEOS - VIDEOS
