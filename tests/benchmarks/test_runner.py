"""The runner: interruption at any record, faults of media, identity of the file."""

import io
import json
import threading

import pytest
from rich.console import Console

from o3v.benchmarks.records import Identity, read_records
from o3v.benchmarks.runner import Respondent, run_benchmark
from o3v.errors import ConfigError, DataError, MediaError, StorageError
from o3v.types import Task
from tests.benchmarks import scenes
from tests.benchmarks.test_shapes import benchmark

SAMPLES = [scenes.when(f"t{i}") for i in (3, 1, 4, 0, 2)]
WHO = Identity("tiny", "abcd1234", 7)


def respond(prompts):
    return [scenes.right_text(SAMPLES[0]) + p.parts[0] for p in prompts]


def run(path, respond=respond, prepare=scenes.prompt_for, samples=SAMPLES, who=WHO, batch_size=2, console=None):
    answers = Respondent(prepare, respond, who)
    return run_benchmark(samples, answers, benchmark().score, path, batch_size, console)


def test_records_say_who_and_what(tmp_path):
    records = run(tmp_path / "deep" / "records.jsonl")
    assert [record.sample_id for record in records] == ["t0", "t1", "t2", "t3", "t4"]
    first = records[0]
    assert first.identity == WHO and first.video == "/t0.mp4" and first.task == Task.TEMPORAL_QA
    assert (first.frames, first.pixels) == (3, 28 * 56)
    assert first.text.endswith("about t0") and first.scores["tiou"] == 1.0 and first.error is None
    assert len(first.prompt_hash) == 12 and len({record.prompt_hash for record in records}) == 5
    assert read_records(tmp_path / "deep" / "records.jsonl") == records


@pytest.mark.parametrize("answered", [0, 1, 3, 5])
def test_an_interrupted_run_ends_like_a_straight_one(tmp_path, answered):
    straight = run(tmp_path / "straight.jsonl")
    calls = []

    def stop(prompts):
        if len(calls) >= answered:
            raise KeyboardInterrupt
        calls.append(1)
        return respond(prompts)

    path = tmp_path / "cut.jsonl"
    if answered < 5:
        with pytest.raises(KeyboardInterrupt):
            run(path, stop, batch_size=1)
    else:
        run(path, stop, batch_size=1)
    with path.open("a") as handle:
        handle.write('{"sample_id": "t9", "sou')
    seen = []

    def count(prompts):
        seen.extend(prompts)
        return respond(prompts)

    assert run(path, count) == straight
    assert len(seen) == 5 - answered
    assert path.read_text() == (tmp_path / "straight.jsonl").read_text()


def test_media_that_cannot_be_read_count_as_wrong_with_their_cause(tmp_path):
    def prepare(sample):
        if sample.id in ("t0", "t1", "t3"):
            raise MediaError(sample.video_path, "no moov atom")
        return scenes.prompt_for(sample)

    asked = []

    def count(prompts):
        asked.append(len(prompts))
        return respond(prompts)

    records = run(tmp_path / "r.jsonl", count, prepare)
    assert [record.error for record in records] == ["no moov atom", "no moov atom", None, "no moov atom", None]
    assert records[0].scores == {"parsed": 0.0, "tiou": 0.0} and records[0].text == ""
    assert asked == [1, 1]
    summary = benchmark().summary(records)
    assert summary["coverage"].value == pytest.approx(0.4) and summary["tiou"].value == pytest.approx(0.4)
    assert summary["tiou"].n == 5


def test_another_model_does_not_continue_the_file(tmp_path):
    run(tmp_path / "r.jsonl")
    with pytest.raises(ConfigError, match="other"):
        run(tmp_path / "r.jsonl", who=Identity("other", "abcd1234", 7))
    with pytest.raises(ConfigError, match=r"r\.jsonl"):
        run(tmp_path / "r.jsonl", who=Identity("tiny", "abcd1234", 8))


def test_mistakes_are_told(tmp_path):
    with pytest.raises(DataError, match="'t0' occurs twice"):
        run(tmp_path / "r.jsonl", samples=[scenes.when("t0"), scenes.when("t0")])
    with pytest.raises(ConfigError, match="batch_size=0"):
        run(tmp_path / "r.jsonl", batch_size=0)
    (tmp_path / "bad.jsonl").write_text('{"sample_id": "t0"}\n')
    with pytest.raises(DataError, match=r"bad\.jsonl:1.*missing"):
        run(tmp_path / "bad.jsonl")
    (tmp_path / "bad.jsonl").write_text("{\n{}\n")
    with pytest.raises(DataError, match=r"bad\.jsonl:1"):
        run(tmp_path / "bad.jsonl")
    (tmp_path / "file").touch()
    with pytest.raises(StorageError):
        run(tmp_path / "file" / "r.jsonl")


def test_a_model_that_answers_too_few_is_a_bug(tmp_path):
    with pytest.raises(ValueError, match="zip"):
        run(tmp_path / "r.jsonl", lambda prompts: ["x"])


def test_the_next_batch_is_prepared_while_one_is_answered(tmp_path):
    third_prepared = threading.Event()

    def prepare(sample):
        if sample.id == "t2":
            third_prepared.set()
        return scenes.prompt_for(sample)

    def wait(prompts):
        assert third_prepared.wait(10)
        return respond(prompts)

    assert len(run(tmp_path / "r.jsonl", wait, prepare)) == 5


def test_progress_is_shown(tmp_path):
    out = io.StringIO()
    run(tmp_path / "r.jsonl", console=Console(file=out, force_terminal=True, width=100))
    assert "5/5" in out.getvalue() and "/s" in out.getvalue()


def test_lines_are_plain_json(tmp_path):
    run(tmp_path / "r.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert lines[0]["model"] == "tiny" and lines[0]["seed"] == 7
