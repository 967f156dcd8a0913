"""Profiles of true runs: every section is there, times add up, MLflow has the files, and off means nothing at all."""

import gzip
import json
import time
from dataclasses import replace

import pytest
import torch
from lightning import Callback

from o3v.data.stream import BatchLoader
from o3v.errors import ConfigError
from o3v.sections import Recorder, recording, section
from o3v.tracking.run import RunFolder
from o3v.training.profile import Profile, ProfileSettings
from o3v.training.rl_step import rl_step
from tests import tiny
from tests.training.runs import Session, Stopped
from tests.training.steps import Updater, batch_of, learner_of
from tests.training.test_timeline import nested
from tests.training.told import Told

BOTH = {"step", "batch", "decode", "tokenize", "forward", "vision", "backward", "optimizer"}
RL = {"prefill", "decode tokens", "rewards", "loss"}


def profiled(folder, objective="gspo", batches=(1,), kernels=False, workers=0, callbacks=(), **options):
    """A short run; returns it with what its tracker was told."""
    session, told = Session(folder / "states", objective, batches=3, num_workers=workers, **options), Told()
    policy = session.module._learner.policy
    profile = Profile(ProfileSettings(list(batches), kernels), told, RunFolder(folder), [policy])
    session.loader = BatchLoader(session.loader.stream, policy, workers, profile)
    return session.fit(profile, *callbacks), told


def sections(folder, batch=1):
    return json.loads((folder / f"profile/batch_{batch}/sections.json").read_text())


def names(rows):
    return {row["section"].split(" / ")[-1] for row in rows}


@pytest.mark.parametrize(("objective", "expected"), [("sft", BOTH), ("gspo", BOTH | RL)])
def test_a_step_has_its_sections_and_their_times_add_up(tmp_path, objective, expected):
    profiled(tmp_path, objective, family="qwen3_vl")
    found = sections(tmp_path)
    assert names(found["sections"]) - {"saving"} == expected
    assert sum(row["own_s"] for row in found["sections"]) == pytest.approx(found["step_s"])
    assert sum(row["share"] for row in found["sections"]) == pytest.approx(1)
    calls = {row["section"]: row["calls"] for row in found["sections"]}
    updates = 2 if objective == "gspo" else 1  # minibatches
    assert calls["batch / decode"] == 2 and calls["backward"] == calls["optimizer"] == updates


def test_the_trace_opens_and_its_sections_lie_in_each_other(tmp_path):
    profiled(tmp_path)
    found = json.loads((tmp_path / "profile/batch_1/trace.json").read_text())
    events = [event for event in found["traceEvents"] if event["ph"] == "X"]
    rows = sections(tmp_path)["sections"]
    assert nested(events) and len(events) == sum(row["calls"] for row in rows)
    assert {event["name"] for event in events} == names(rows)


def test_the_tracker_is_told_of_each_profiled_batch_and_of_no_other(tmp_path):
    _, told = profiled(tmp_path, "sft", batches=(0, 2))
    files = {"trace.json", "sections.json", "sections.svg"}
    assert set(told.files) == {(f"profile/batch_{batch}", name) for batch in (0, 2) for name in files}
    assert set(told.tables["profile"]) == {0, 2}
    assert told.tables["profile"][0][0]["section"] == "step"


def test_what_loader_workers_did_travels_with_the_batch(tmp_path):
    profiled(tmp_path, "sft", workers=1)
    found = sections(tmp_path)
    assert names(found["loader_worker"]) == {"decode", "tokenize"}
    assert not {"decode", "tokenize"} & names(found["sections"]) and "batch" in names(found["sections"])
    events = json.loads((tmp_path / "profile/batch_1/trace.json").read_text())["traceEvents"]
    by_track = {track: min(e["ts"] for e in events if e["tid"] == track and e["ph"] == "X") for track in (0, 1)}
    assert by_track[1] < by_track[0] + 60e6, "one clock for all processes"


def test_kernels_have_the_sections_names(tmp_path):
    _, told = profiled(tmp_path, "sft", kernels=True)
    assert ("profile/batch_1", "kernels.json.gz") in told.files
    with gzip.open(tmp_path / "profile/batch_1/kernels.json.gz") as file:
        seen = {event.get("name", "") for event in json.load(file)["traceEvents"]}
    assert {"forward", "vision", "backward", "optimizer"} <= seen
    assert any(name.startswith("aten::") for name in seen) and sections(tmp_path)["about"]["kernels_traced"]


def test_recording_changes_no_weight(tmp_path):
    plain = Session(tmp_path / "plain", "gspo", batches=3).fit().weights
    found = profiled(tmp_path, batches=(0, 1, 2))[0].weights
    assert all(torch.equal(plain[name], found[name]) for name in plain)


class Breaks(Callback):
    """Ends the run in the middle of a batch."""

    def on_before_optimizer_step(self, trainer, *_):
        if trainer.lightning_module.batches_done == 1:
            raise Stopped


def test_a_step_that_fails_is_not_told_and_records_no_longer(tmp_path):
    with pytest.raises(Stopped):
        profiled(tmp_path, "sft", callbacks=[Breaks()])
    assert not (tmp_path / "profile").exists()
    assert section("a") is section("b"), "nobody records any more"


CLOCKS = ("perf_counter", "perf_counter_ns", "monotonic", "monotonic_ns", "time", "time_ns", "process_time")


@pytest.fixture
def clock_reads(monkeypatch):
    """Names of the clocks of Python that are read."""
    reads = []
    for name in CLOCKS:
        clock = getattr(time, name)
        monkeypatch.setattr(time, name, lambda name=name, clock=clock: (reads.append(name), clock())[1])
    return reads


def test_off_reads_no_clock_and_hangs_nothing_on_the_model(policy, clock_reads):
    tower = policy.model.model.visual
    hooks = len(tower._forward_hooks), len(tower._forward_pre_hooks)
    rl_step(learner_of(policy), batch_of(policy, tiny.mixed_prompts(policy)), 0.5, Updater(policy))
    assert clock_reads == [] and hooks == (0, 0)
    time.perf_counter()
    assert clock_reads == ["perf_counter"]


def test_sections_that_always_record_are_caught(policy, clock_reads):
    always = Recorder(clock=lambda: time.perf_counter())
    with recording(always):
        rl_step(learner_of(policy), batch_of(policy, tiny.mixed_prompts(policy)), 0.5, Updater(policy))
    assert len(clock_reads) == 2 * len(always.spans) > 0


def test_after_a_profiled_run_nothing_hangs_on_the_model(tmp_path):
    session, _ = profiled(tmp_path, "sft")
    tower = session.module.model.model.visual
    assert not tower._forward_hooks and not tower._forward_pre_hooks


@pytest.mark.parametrize("wrong", [[-1], ["3"], [True], [1.5]])
def test_what_is_no_batch_is_refused(wrong):
    with pytest.raises(ConfigError, match=r"trainer\.profile\.batches"):
        ProfileSettings(wrong, False)


def test_a_batch_behind_the_end_is_refused_before_anything_is_loaded():
    settings = ProfileSettings([0, 7], False)
    settings.check(8)
    with pytest.raises(ConfigError, match="the run has 7 batches, 0 to 6"):
        settings.check(7)


def test_a_wait_that_is_not_in_the_step_is_caught(tmp_path):
    """Half a second of reading is in the step, under its name."""
    session, told = Session(tmp_path / "states", "sft", batches=2), Told()
    stream, policy = session.loader.stream, session.module._learner.policy
    slow = replace(stream, prepare=lambda row: (time.sleep(0.25), stream.prepare(row))[1])
    profile = Profile(ProfileSettings([1], False), told, RunFolder(tmp_path), [policy])
    session.loader = BatchLoader(slow, policy, 0, profile)
    session.fit(profile)
    times = {row["section"]: row["own_s"] for row in sections(tmp_path)["sections"]}
    assert times["batch / decode"] > 0.5 and times["batch"] < 0.4
