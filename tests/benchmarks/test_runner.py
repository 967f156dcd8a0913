"""The runner: interruption at any record, faults of media, identity of the file."""

import io
import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from o3v.benchmarks.exam import Exam
from o3v.benchmarks.records import Identity, Versions, read_records
from o3v.benchmarks.runner import Respondent, run_benchmark
from o3v.benchmarks.samples import sample_question
from o3v.benchmarks.shards import ALONE, Shard, merge, read_folder, read_shard
from o3v.errors import ConfigError, DataError, MediaError, StorageError
from o3v.grounding.parse import parse_completion
from o3v.types import Task
from tests.benchmarks import scenes
from tests.benchmarks.test_shapes import benchmark

SAMPLES = [scenes.when(f"t{i}") for i in (3, 1, 4, 0, 2)]
WHO = Identity("tiny", "abcd1234", 7)


def respond(prompts):
    return [scenes.right_text(SAMPLES[0]) + p.parts[0] for p in prompts]


def exam(samples=SAMPLES):
    def score(question, text, scale):
        return benchmark().score(question.truth["sample"], parse_completion(text, scale))

    return Exam(tuple(sample_question(s) for s in samples), score, Versions("p1", "r1", "corrected"))


def run(
    folder,
    respond=respond,
    prepare=scenes.prompt_for,
    samples=SAMPLES,
    who=WHO,
    batch_size=2,
    console=None,
    shard=ALONE,
):
    def answer(asked):
        return respond([prompt for _, prompt in asked])

    return run_benchmark(exam(samples), Respondent(prepare, answer, who), folder, batch_size, console, shard)


def lines(folder):
    """What the only file of a folder holds."""
    (path,) = folder.glob("*.jsonl")
    return path.read_text()


def test_records_say_who_and_what(tmp_path):
    records = run(tmp_path / "deep")
    assert [record.sample_id for record in records] == ["t0", "t1", "t2", "t3", "t4"]
    first = records[0]
    assert first.identity == WHO and first.video == "/t0.mp4" and first.task == Task.TEMPORAL_QA
    assert (first.frames, first.pixels) == (3, 28 * 56)
    assert first.text.endswith("about t0") and first.scores["tiou"] == 1.0 and first.error is None
    assert len(first.prompt_hash) == 12 and len({record.prompt_hash for record in records}) == 5
    assert (first.prompt_version, first.parser_version, first.definition) == ("p1", "r1", "corrected")
    assert first.item == "t0" and first.box_scale == (100.0, 100.0)
    assert read_records(tmp_path / "deep" / "records-0-of-1.jsonl") == records
    assert list(read_folder(tmp_path / "deep").values()) == records


@pytest.mark.parametrize("answered", [0, 1, 3, 5])
def test_an_interrupted_run_ends_like_a_straight_one(tmp_path, answered):
    straight = run(tmp_path / "straight")
    calls = []

    def stop(prompts):
        if len(calls) >= answered:
            raise KeyboardInterrupt
        calls.append(1)
        return respond(prompts)

    path = tmp_path / "cut"
    if answered < 5:
        with pytest.raises(KeyboardInterrupt):
            run(path, stop, batch_size=1)
    else:
        run(path, stop, batch_size=1)
    with (path / "records-0-of-1.jsonl").open("a") as handle:
        handle.write('{"sample_id": "t9", "sou')
    seen = []

    def count(prompts):
        seen.extend(prompts)
        return respond(prompts)

    assert run(path, count) == straight
    assert len(seen) == 5 - answered
    assert lines(path) == lines(tmp_path / "straight")


def test_media_that_cannot_be_read_count_as_wrong_with_their_cause(tmp_path):
    def prepare(sample):
        if sample.id in ("t0", "t1", "t3"):
            raise MediaError(sample.video_path, "no moov atom")
        return scenes.prompt_for(sample)

    asked = []

    def count(prompts):
        asked.append(len(prompts))
        return respond(prompts)

    records = run(tmp_path / "r", count, prepare)
    assert [record.error for record in records] == ["no moov atom", "no moov atom", None, "no moov atom", None]
    assert records[0].scores == {"parsed": 0.0, "tiou": 0.0} and records[0].text == ""
    assert asked == [1, 1]
    summary = benchmark().summary(records)
    assert summary["coverage"].value == pytest.approx(0.4) and summary["tiou"].value == pytest.approx(0.4)
    assert summary["tiou"].n == 5


def test_another_model_does_not_continue_the_file(tmp_path):
    run(tmp_path / "r")
    with pytest.raises(ConfigError, match="other"):
        run(tmp_path / "r", who=Identity("other", "abcd1234", 7))
    with pytest.raises(ConfigError, match=r"/r holds"):
        run(tmp_path / "r", who=Identity("tiny", "abcd1234", 8))


def test_mistakes_are_told(tmp_path):
    with pytest.raises(DataError, match="'t0' occurs twice"):
        run(tmp_path / "r", samples=[scenes.when("t0"), scenes.when("t0")])
    with pytest.raises(ConfigError, match="batch_size=0"):
        run(tmp_path / "r", batch_size=0)
    bad = tmp_path / "bad" / "records-2-of-3.jsonl"
    bad.parent.mkdir()
    bad.write_text('{"sample_id": "t0"}\n')
    with pytest.raises(DataError, match=r"3\.jsonl:1.*missing"):
        run(bad.parent)
    bad.write_text("{\n{}\n")
    with pytest.raises(DataError, match=r"3\.jsonl:1"):
        run(bad.parent)
    (tmp_path / "file").touch()
    with pytest.raises(StorageError):
        run(tmp_path / "file" / "r")


def test_a_model_that_answers_too_few_is_a_bug(tmp_path):
    with pytest.raises(ValueError, match="zip"):
        run(tmp_path / "r", lambda prompts: ["x"])


def test_the_next_batch_is_prepared_while_one_is_answered(tmp_path):
    third_prepared = threading.Event()

    def prepare(sample):
        if sample.id == "t2":
            third_prepared.set()
        return scenes.prompt_for(sample)

    def wait(prompts):
        assert third_prepared.wait(10)
        return respond(prompts)

    assert len(run(tmp_path / "r", wait, prepare)) == 5


def test_progress_is_shown(tmp_path):
    out = io.StringIO()
    run(tmp_path / "r", console=Console(file=out, force_terminal=True, width=100))
    assert "5/5" in out.getvalue() and "/s" in out.getvalue()


def test_lines_are_plain_json(tmp_path):
    run(tmp_path / "r")
    rows = [json.loads(line) for line in lines(tmp_path / "r").splitlines()]
    assert rows[0]["model"] == "tiny" and rows[0]["seed"] == 7


# ---- several workers


def shared_videos(n=12):
    """Questions in threes about one video; ids run across the videos."""
    return [replace(scenes.when(f"q{i:02d}"), video_path=Path(f"/v{i % 4}.mp4")) for i in range(n)]


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_the_records_do_not_depend_on_the_number_of_workers(tmp_path, count):
    straight = run(tmp_path / "one", samples=shared_videos())
    for index in range(count):
        records = run(tmp_path / "many", samples=shared_videos(), shard=Shard(index, count))
    assert records == straight
    merge(tmp_path / "many", records)
    merge(tmp_path / "one", straight)
    assert lines(tmp_path / "many") == lines(tmp_path / "one")
    assert run(tmp_path / "many", samples=shared_videos(), respond=None) == straight  # nothing is asked again


def test_the_number_of_workers_may_change_after_a_stop(tmp_path):
    straight = run(tmp_path / "one", samples=shared_videos())
    asked = []

    def stop(prompts):
        if len(asked) == 2:
            raise KeyboardInterrupt
        asked.append(1)
        return respond(prompts)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "many", stop, samples=shared_videos(), batch_size=1, shard=Shard(1, 2))
    seen = []

    def count(prompts):
        seen.extend(prompts)
        return respond(prompts)

    for index in range(3):
        records = run(tmp_path / "many", count, samples=shared_videos(), shard=Shard(index, 3))
    assert records == straight and len(seen) == 10


def test_questions_about_one_video_follow_each_other_and_stay_with_one_worker():
    questions = exam(shared_videos()).questions
    picked = [Shard(index, 3).pick(questions) for index in range(3)]
    assert sorted(q.id for part in picked for q in part) == sorted(q.id for q in questions)
    videos = [[str(q.video_path) for q in part] for part in picked]
    assert [len(set(part)) for part in videos] == [2, 1, 1] and all(part == sorted(part) for part in videos)


def test_a_shard_has_one_writer(tmp_path, monkeypatch):
    monkeypatch.setattr("o3v.benchmarks.runner.LOCK_WAIT_S", 0.2)

    def again(prompts):
        with pytest.raises(StorageError, match="another process"):
            run(tmp_path / "r")
        return respond(prompts)

    assert len(run(tmp_path / "r", again)) == 5


@pytest.mark.parametrize("text", ["4/4", "-1/2", "1", "a/b", "0/0", ""])
def test_a_shard_that_does_not_exist_is_told(text):
    with pytest.raises(ConfigError, match="shard="):
        read_shard(text)


def test_records_of_an_earlier_version_are_read(tmp_path):
    run(tmp_path / "r")
    old = json.loads(lines(tmp_path / "r").splitlines()[0])
    for key in ("item", "definition", "prompt_version", "parser_version", "box_scale"):
        del old[key]
    (tmp_path / "old.jsonl").write_text(json.dumps(old) + "\n")
    (record,) = read_records(tmp_path / "old.jsonl")
    assert record.definition == "corrected" and record.prompt_version == ""
