"""Saved rollouts: what training writes is read back with the same rewards, and golden lines are read as they stand."""

import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from o3v.errors import DataError
from o3v.grounding.parse import parse_completion
from o3v.replay.format import read_group, read_rollouts, rollout_fields
from o3v.types import BoxScale, KeyFrame, Task
from tests.replay.rollouts import fields_of, texts_of
from tests.rewards import configured
from tests.rewards.golden_lines import SMALL
from tests.rewards.samples import sample
from tests.rewards.test_mix import SAMPLES

corner = st.floats(0.0, 1.0)
boxes = st.tuples(corner, corner, corner, corner)
scales = st.builds(BoxScale, st.integers(28, 1000), st.integers(28, 1000))
seconds = st.floats(0.0, 1e4)
named = st.dictionaries(st.text(max_size=5), st.lists(boxes, max_size=2).map(tuple), max_size=2)
samples = st.one_of(
    st.builds(lambda box: sample(task=Task.VISUAL_QA, box=box), boxes),
    st.builds(lambda span: sample(task=Task.TEMPORAL_QA, span_s=span), st.tuples(seconds, seconds)),
    st.builds(
        lambda span, letter: sample(task=Task.TEMPORAL_MCQ, span_s=span, letter=letter),
        st.tuples(seconds, seconds),
        st.sampled_from("ABCD"),
    ),
    st.builds(
        lambda answer, frames: sample(task=Task.TEMPORAL_SPATIAL, answer=answer, key_frames=tuple(frames)),
        st.text(max_size=20),
        st.lists(st.builds(KeyFrame, seconds, named, st.none()), max_size=3),
    ),
    st.builds(lambda letter: sample(task=Task.GENERAL_MCQ, letter=letter), st.sampled_from("ABCD")),
)


@settings(deadline=None, max_examples=60)
@given(samples, scales)
def test_a_written_sample_is_read_back(written, scale):
    fields = json.loads(json.dumps(rollout_fields("x", written, ["", "<think>a</think>"], scale, 0.5, {})))
    group = read_group(fields, "here")
    read = group.samples[0]
    for name in ("task", "span_s", "box", "letter", "key_frames", "id"):
        assert getattr(read, name) == getattr(written, name)
    assert group.completions[1].box_scale == scale
    assert (group.texts, group.progress, group.is_batch) == (("", "<think>a</think>"), 0.5, False)


@pytest.mark.parametrize("variant", ["o3", "reference", "reference_fixed"])
@pytest.mark.parametrize("task", Task)
def test_the_rewards_of_a_written_line_are_those_of_training(task, variant):
    group = read_group(json.loads(json.dumps(fields_of(task))), "here")
    trained = [parse_completion(text, BoxScale(1000, 1000)) for text in texts_of(task)]
    mix = configured.mix(variant)
    assert mix(group.completions, group.samples[0], 0.3) == mix(trained, SAMPLES[task], 0.3)


def test_files_are_read_packed_and_plain(tmp_path):
    lines = [json.loads(line) for line in gzip.decompress(SMALL.read_bytes()).splitlines()]
    plain = tmp_path / "rollouts.jsonl"
    plain.write_text("".join(json.dumps(line) + "\n" for line in lines) + "\n")
    for path in (SMALL, plain):
        groups = list(read_rollouts(path))
        assert [group.id for group in groups] == [line["id"] for line in lines]
        assert [len(group.texts) for group in groups] == [len(line["completions"]) for line in lines]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "not JSON"),
        ("[1]", "wanted a JSON object"),
        ('{"id": "a", "completions": "text"}', "completions must be a list"),
        ('{"completions": []}', "id is missing"),
        ('{"id": "a", "completions": [""], "task": "poetry"}', "task='poetry' must be one of"),
        ('{"id": "a", "completions": [""], "layout": "batch", "samples": []}', "as long as completions"),
        ('{"id": "a", "completions": [], "layout": "rows"}', "layout='rows'"),
        ('{"id": "a", "completions": [], "step_percent": "1"}', "step_percent='1'"),
    ],
)
def test_a_broken_line_is_named(line, words, tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_text(f"\n{line}\n")
    with pytest.raises(DataError, match=f"r.jsonl:2: .*{words}"):
        list(read_rollouts(path))


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(DataError, match="gone"):
        list(read_rollouts(tmp_path / "gone.jsonl"))
    (tmp_path / "bad.gz").write_bytes(b"no gzip")
    with pytest.raises(DataError, match=r"bad\.gz"):
        list(read_rollouts(tmp_path / "bad.gz"))


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["0", "time", "idx", "cat"]), inner),
    max_leaves=12,
)


@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from(Task),
    st.fixed_dictionaries(
        {name: anything for name in ("answer", "key_frames", "key_items", "image_size", "image_size_refine")}
    ),
)
def test_any_annotation_is_read_and_scored(task, fields):
    from o3v.replay.score import score_group

    claim = "<obj>a</obj><box>[1,2,3,4]</box>at<t>1</t>s"
    line = {"id": "x", "task": str(task), "completions": [f"<think>{claim}</think><answer>B</answer>", None], **fields}
    group = read_group(line, "here")
    for variant in ("o3", "reference", "reference_fixed"):
        scores = score_group(configured.mix(variant), group, 0.5)
        assert len(scores.totals) == 2
        assert all(0.0 <= total <= 7.0 for total in scores.totals)
