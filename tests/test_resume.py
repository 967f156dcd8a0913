"""Killed runs, started again with the same command: the same weights to the last bit, the same metrics."""

import shutil
import signal
import time

import pytest
from safetensors.torch import load_file
from torch import equal

from o3v.errors import StorageError
from tests import commands, tiny
from tests.commands import LETTERS, QUIET, SMALL, metrics, run_folder

# 10 samples, 4 prompts a batch: an epoch ends after two and a half batches; states after batches 3, 6 and 9
BASE = ("logger=jsonl", "trainer.batches=10", "trainer.save_every=3", "trainer.show_every=4", *QUIET, *SMALL)
RL = ("objective=gspo", "rollout.group_size=2", "objective.updates_per_rollout=2", *LETTERS)
STAGES = {"sft": (), "gspo": RL}
KILL_AFTER = 5  # batches: beyond the first state, within the second epoch


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return tiny.saved_policy("qwen2_5_vl", tmp_path_factory.mktemp("base") / "model", 1.5)


def overrides(stage, weights):
    return ("model=tiny_qwen2_5_vl", *BASE, *STAGES[stage], f"init_from={weights}")


def end_of(out):
    folder = run_folder(out, "train")
    return load_file(folder / "model" / "model.safetensors"), metrics(folder)


def same(one, two):
    return one[0].keys() == two[0].keys() and all(equal(one[0][k], two[0][k]) for k in one[0]) and one[1] == two[1]


def killed(out, *arguments):
    """Starts the command and kills it without warning after some batches."""
    process = commands.start("train", out, *arguments)
    deadline = time.monotonic() + 240
    while lines(out) < KILL_AFTER:
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL and KILL_AFTER <= lines(out) < 10


def lines(out):
    """Batches that were reported."""
    return sum(path.read_bytes().count(b'"train/time/step_s"') for path in out.glob("train-*/metrics.jsonl"))


def finished(out, *arguments):
    process = commands.start("train", out, *arguments)
    text, _ = process.communicate(timeout=240)
    assert process.returncode == 0, text
    return text


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_a_run_killed_in_the_middle_ends_like_an_undisturbed_one(stage, weights, tmp_path):
    arguments = overrides(stage, weights)
    finished(tmp_path / "whole", *arguments)
    shutil.copytree(tmp_path / "whole" / "data", tmp_path / "cut" / "data")
    killed(tmp_path / "cut", *arguments)
    text = finished(tmp_path / "cut", *arguments)
    whole = end_of(tmp_path / "whole")
    assert "continuing from" in text and ("batch 3 of 10" in text or "batch 6 of 10" in text)
    assert same(end_of(tmp_path / "cut"), whole)
    once_more = finished(tmp_path / "cut", *arguments)
    assert "is finished; again=true would run it again" in once_more and "batch 1 of" not in once_more
    finished(tmp_path / "cut", *arguments, "again=true")
    assert same(end_of(tmp_path / "cut"), whole)
    assert (run_folder(tmp_path / "cut", "train") / "earlier-1" / "metrics.jsonl").is_file()


# ---- quick: in this process, stopped by an error in the middle


class Stop(Exception):
    """Ends the process' work, as a crash would."""


def stop_after(batches, monkeypatch):
    from o3v.training.report import Report

    def told(self, trainer, pl_module, *rest, right=Report.on_train_batch_end):
        right(self, trainer, pl_module, *rest)
        if pl_module.batches_done == batches:
            raise Stop

    monkeypatch.setattr(Report, "on_train_batch_end", told)


@pytest.fixture(scope="module", params=STAGES)
def undisturbed(request, weights, tmp_path_factory):
    out = tmp_path_factory.mktemp(request.param)
    commands.run("train", out, *overrides(request.param, weights))
    return request.param, out


def cut(undisturbed, weights, tmp_path, monkeypatch, batches=5):
    stage, whole = undisturbed
    shutil.copytree(whole / "data", tmp_path / "data")
    with monkeypatch.context() as patch, pytest.raises(Stop):
        stop_after(batches, patch)
        commands.run("train", tmp_path, *overrides(stage, weights))
    return overrides(stage, weights)


def test_a_stopped_run_ends_like_an_undisturbed_one(undisturbed, weights, tmp_path, monkeypatch):
    arguments = cut(undisturbed, weights, tmp_path, monkeypatch)
    folder = run_folder(tmp_path, "train")
    assert (folder / "status.json").read_text().count("failed") == 1 and not (folder / "DONE.json").exists()
    result = commands.run("train", tmp_path, *arguments)
    assert same(end_of(tmp_path), end_of(undisturbed[1]))
    before = (folder / "metrics.jsonl").read_bytes()
    assert commands.run("train", tmp_path, *arguments) == result
    assert (folder / "metrics.jsonl").read_bytes() == before
    assert commands.run("train", tmp_path, *arguments, "again=true") == result
    assert same(end_of(tmp_path), end_of(undisturbed[1]))


def test_a_loader_that_starts_at_zero_is_caught(undisturbed, weights, tmp_path, monkeypatch):
    arguments = cut(undisturbed, weights, tmp_path, monkeypatch)
    monkeypatch.setattr("o3v.training.fit._batches_done", lambda state: 0)
    commands.run("train", tmp_path, *arguments)
    assert not same(end_of(tmp_path), end_of(undisturbed[1]))


def test_an_export_on_a_full_disk_is_told_and_done_again_without_training(weights, tmp_path, monkeypatch):
    arguments = overrides("sft", weights)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with (
        monkeypatch.context() as patch,
        pytest.raises(StorageError, match=r"cannot be written.*No space left"),
    ):
        patch.setattr("transformers.modeling_utils.PreTrainedModel.save_pretrained", full)
        commands.run("train", tmp_path, *arguments)
    folder = run_folder(tmp_path, "train")
    assert not (folder / "model").exists() and not (folder / "DONE.json").exists()
    recorded = metrics(folder)
    commands.run("train", tmp_path, *arguments)
    assert (folder / "model" / "model.safetensors").is_file()
    assert recorded.items() <= metrics(folder).items()
