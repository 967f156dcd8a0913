"""Files of a replay: whole or absent, appended by step, replaced where a continued run repeats steps."""

import gzip
import json

import pytest

from o3v.errors import StorageError
from o3v.replay.answers import answered_rollouts, step_rollouts
from o3v.replay.files import RolloutFile, write_json, write_lines
from o3v.replay.format import read_rollouts
from o3v.types import Task
from tests.replay.rollouts import group_of
from tests.rewards.test_mix import SAMPLES, perfect


def ids(path):
    return [json.loads(line)["id"] for line in path.read_text().splitlines()]


def test_lines_appear_when_all_are_written(tmp_path):
    out = tmp_path / "a" / "scores.jsonl"

    def broken():
        yield {"id": 1}
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        write_lines(out, broken())
    assert list(out.parent.iterdir()) == []
    write_lines(out, [{"id": 1}, {"id": 2}])
    assert ids(out) == [1, 2]
    packed = out.with_suffix(".jsonl.gz")
    write_lines(packed, [{"id": "é"}])
    assert json.loads(gzip.decompress(packed.read_bytes())) == {"id": "é"}


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file"):
        write_json(tmp_path / "file" / "x.json", {})


def test_a_continued_run_replaces_the_steps_it_repeats(tmp_path):
    path = tmp_path / "rollouts.jsonl"
    first = RolloutFile(path)
    for step in (0, 10, 20):
        first.append(step, [{"id": f"{step}/a"}, {"id": f"{step}/b"}])
    with path.open("a") as handle:
        handle.write('{"id": "cut o')
    RolloutFile(path).append(10, [{"id": "10/new"}])
    assert ids(path) == ["0/a", "0/b", "10/new"]


def test_training_groups_are_read_back(tmp_path):
    path = tmp_path / "rollouts.jsonl"
    groups = [(SAMPLES[task], (perfect(task), perfect(task))) for task in Task]
    RolloutFile(path).append(7, step_rollouts(7, groups, 0.25))
    read = list(read_rollouts(path))
    assert [group.samples[0].task for group in read] == list(Task)
    assert [group.id for group in read][:2] == ["7/0/t", "7/1/t"]
    assert {group.progress for group in read} == {0.25}
    assert read[0].completions[0] == perfect(next(iter(Task)))


def test_answers_of_an_evaluation_are_rollouts():
    from o3v.benchmarks.records import Identity, make_record
    from o3v.benchmarks.samples import sample_question
    from o3v.replay.format import read_group

    questions = [sample_question(SAMPLES[Task.VISUAL_QA])]
    identity = Identity("model", "run", 0)
    answer = perfect(Task.VISUAL_QA)
    made = [
        make_record(questions[0], identity, None, answer.text, {}, None, scale=answer.box_scale),
        make_record(questions[0], identity, None, "", {}, "no such file"),
    ]
    (line,) = answered_rollouts(questions, made)
    group = read_group(line, "here")
    assert group.completions == (answer,)
    assert (group.progress, line["model"]) == (1.0, "model")
    assert group_of(Task.VISUAL_QA).samples[0].box == group.samples[0].box
