"""Replayed scores: golden lines through files, both definitions; the released code's raises are reported as such."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from o3v.replay.format import read_group, read_rollouts
from o3v.replay.run import Replay
from o3v.replay.score import is_share, score_group
from o3v.types import Task
from tests.grounding.test_parse import texts
from tests.replay.rollouts import fields_of, group_of
from tests.rewards import configured
from tests.rewards.golden_lines import FULL, SMALL, read_lines
from tests.rewards.test_golden import both, same_outcome

VARIANTS = {"reference": "expected", "reference_fixed": "expected_corrected"}


class Outcome:
    """A written row in the form in which golden rows are compared."""

    def __init__(self, values):
        self.values, self.raised = values, ""


@both
@pytest.mark.parametrize("variant", VARIANTS)
def test_golden_lines_as_they_are_written(path, variant):
    replay = Replay([configured.mix(variant)], 0)
    groups = ((group, group.progress) for group in read_rollouts(path))
    for line, written in zip(read_lines(path), replay.lines(groups), strict=True):
        written = json.loads(json.dumps(written))
        expected = line[VARIANTS[variant]] or line["expected"]
        assert written["id"] == line["id"]
        assert len(written["total"]) == len(line["completions"])
        for name, row in expected.items():
            assert same_outcome(Outcome(written["reward"][name]), row, ""), (line["id"], name)
        if variant == "reference":
            assert set(written.get("raises", {}).get("reward", {})) == set(line["raises"] or {})
    assert replay.summary()["completions"] == sum(len(line["completions"]) for line in read_lines(path))


def test_the_small_copy_is_part_of_the_corpus():
    if FULL.exists():
        assert {line["id"] for line in read_lines(SMALL)} <= {line["id"] for line in read_lines(FULL)}


@pytest.mark.parametrize("variant", ["o3", "no_gate", "reference", "reference_fixed"])
@pytest.mark.parametrize("task", Task)
def test_totals_and_terms_are_those_of_the_mix(task, variant):
    group, mix = group_of(task), configured.mix(variant)
    scores = score_group(mix, group, 0.3)
    table = mix(group.completions, group.samples[0], 0.3)
    assert tuple(zip(*scores.terms.values(), strict=True)) == table.values
    assert scores.totals == table.totals
    assert tuple(scores.applies.values()) == table.applies


def test_claims_are_counted_by_the_gate_of_the_mix():
    group = group_of(Task.TEMPORAL_SPATIAL)  # cites 3.0 and 4.5 s, the key frame is at 3.0 s
    for variant, opened in (("o3", 2), ("reference_fixed", 1), ("no_gate", 2)):
        scores = score_group(configured.mix(variant), group, 0.3)
        assert (scores.claims, scores.open_claims) == (2, opened)


@settings(deadline=None, max_examples=40)
@given(st.permutations(range(4)), st.sampled_from(Task), st.sampled_from(["o3", "reference", "reference_fixed"]))
def test_shuffled_completions_keep_their_rewards(order, task, variant):
    group, mix = group_of(task), configured.mix(variant)
    shuffled = replace(
        group, texts=tuple(group.texts[i] for i in order), completions=tuple(group.completions[i] for i in order)
    )
    first, second = score_group(mix, group, 0.3), score_group(mix, shuffled, 0.3)
    assert second.totals == tuple(first.totals[i] for i in order)
    assert all(row == tuple(first.terms[name][i] for i in order) for name, row in second.terms.items())


@settings(deadline=None, max_examples=40)
@given(st.lists(texts, min_size=1, max_size=3), st.sampled_from(Task), st.floats(0, 1))
def test_any_text_is_paid_between_0_and_1(generated, task, progress):
    line = {**fields_of(task), "completions": generated}
    for variant in ("o3", "reference", "reference_fixed"):
        scores = score_group(configured.mix(variant), read_group(line, "here"), progress)
        shares = [v for row in scores.terms.values() for v in row or () if is_share(v)]
        assert all(0.0 <= value <= 1.0 for value in shares)
        assert all(0.0 <= total <= 7.0 for total in scores.totals)


def test_a_group_without_completions_has_no_scores():
    empty = read_group({"id": "x", "task": "visual QA", "completions": []}, "here")
    scores = score_group(configured.mix("o3"), empty, 0.0)
    assert scores.totals == () and set(scores.terms.values()) == {()}


def test_numbers_that_are_not_finite_are_written_as_words():
    scores = score_group(configured.mix("o3"), group_of(Task.VISUAL_QA), 0.0)
    odd = replace(scores, terms={"a": (float("nan"), [1.0, float("inf")]), "b": None})
    assert odd.line()["reward"] == {"a": ["NaN", [1.0, "Infinity"]], "b": None}
