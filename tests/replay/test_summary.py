"""Figures of a replay by hand, rank correlation by its properties, disagreement where it was put."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from o3v.errors import ConfigError
from o3v.replay.ranks import advantages, is_flat, ranks, spearman
from o3v.replay.run import Replay
from o3v.replay.score import Scores
from o3v.replay.summary import Comparison, RewardSummary
from o3v.types import Task
from tests.replay.rollouts import group_of
from tests.rewards import configured

values = st.lists(st.integers(-50, 50).map(float), min_size=2, max_size=12)


def scores(*totals, term=None, applies=True, claims=0, opened=0):
    row = tuple(totals if term is None else term)
    return Scores({"a": row}, {"a": applies}, tuple(totals), {}, 0, claims, opened)


def test_means_spread_and_flat_groups():
    summary = RewardSummary()
    summary.add(scores(0.0, 1.0, claims=3, opened=1))
    summary.add(scores(0.5, 0.5, claims=1, opened=1))
    summary.add(scores(1.0))  # a single completion is no group
    summary.add(scores(9.0, 9.0, applies=False))
    found = summary.summary()
    assert found["terms"]["a"] == {
        "completions": 5,
        "groups": 2,
        "mean": pytest.approx(3.0 / 5),
        "spread": pytest.approx(np.std([0, 1, 0.5, 0.5, 1])),
        "group_spread": pytest.approx(0.25),
        "flat_groups": 0.5,
    }
    assert found["total"]["flat_groups"] == pytest.approx(2 / 3)
    assert found["gate_open"] == 0.5


def test_an_empty_file_has_no_figures():
    replay = Replay([configured.mix("o3")], 3)
    assert list(replay.lines([])) == []
    assert replay.summary()["reward"]["total"]["mean"] is None
    json.dumps(replay.summary(), allow_nan=False)


@given(values, st.integers(1, 9))
def test_spearman_knows_order_only(a, k):
    flat = is_flat(a)
    for other, expected in (([k * v + 3 for v in a], 1.0), ([v**3 for v in a], 1.0), ([-v for v in a], -1.0)):
        assert math.isnan(spearman(a, other)) if flat else spearman(a, other) == pytest.approx(expected)


@given(values, st.randoms(use_true_random=False))
def test_spearman_is_symmetric_and_needs_no_order_of_lines(a, random):
    b = [random.uniform(0, 1) for _ in a]
    order = list(range(len(a)))
    random.shuffle(order)
    shuffled = spearman([a[i] for i in order], [b[i] for i in order])
    assert np.array_equal(spearman(a, b), spearman(b, a), equal_nan=True)
    assert shuffled == pytest.approx(spearman(a, b), nan_ok=True)


@given(values)
def test_ranks_add_up_and_advantages_cancel(a):
    assert ranks(a).sum() == len(a) * (len(a) + 1) / 2
    assert advantages(a).sum() == pytest.approx(0.0, abs=1e-9)


def test_spearman_with_ties_by_hand():
    # ranks 1.5 1.5 3 and 1 2 3: covariance 1.5, variances 1.5 and 2
    assert spearman([1.0, 1.0, 2.0], [1.0, 2.0, 3.0]) == pytest.approx(1.5 / math.sqrt(1.5 * 2))


def test_the_completions_on_which_two_rewards_disagree_come_first():
    comparison, group = Comparison(shown=2), group_of(Task.GENERAL_MCQ)
    comparison.add(group, scores(0.0, 1.0, 2.0, 3.0), scores(0.0, 1.0, 2.0, 3.0))
    assert comparison.worst == []
    comparison.add(group, scores(0.0, 0.0, 0.0, 3.0), scores(3.0, 0.0, 0.0, 0.0))
    assert sorted(one.index for one in comparison.worst) == [0, 3]
    found = comparison.summary()
    assert found["spearman_in_groups"] == pytest.approx((1.0 - 1 / 3) / 2)
    assert found["groups_without_order"] == 0
    assert found["disagreements"][0]["text"] in group.texts


@settings(deadline=None, max_examples=20)
@given(st.permutations(list(Task)))
def test_shuffled_lines_give_the_same_figures(tasks):
    def figures(order):
        replay = Replay([configured.mix("o3"), configured.mix("reference")], 3)
        for _ in replay.lines((group_of(task, line_id=str(task)), 0.5) for task in order):
            pass
        return replay.summary()

    first, second = figures(list(Task)), figures(tasks)
    for name in ("reward", "reward_b"):
        assert second[name]["total"] == pytest.approx(first[name]["total"])
    assert second["comparison"]["spearman_overall"] == pytest.approx(first["comparison"]["spearman_overall"])


@pytest.mark.parametrize(("mixes", "shown"), [(0, 1), (3, 1), (1, -1)])
def test_wrong_arguments_are_refused(mixes, shown):
    with pytest.raises(ConfigError):
        Replay([configured.mix("o3")] * mixes, shown)
