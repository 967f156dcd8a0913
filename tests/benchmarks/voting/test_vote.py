"""Votes: who wins, who abstains, and what does not matter."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from o3v.benchmarks.voting import consistency as consistencies
from o3v.benchmarks.voting.consistency import agreement, consistency, supports
from o3v.benchmarks.voting.paths import Path
from o3v.benchmarks.voting.vote import RULES, Rule, elect, vote, weigh
from o3v.errors import ConfigError
from o3v.types import Claim

unit = st.floats(0, 1)
boxes = st.tuples(unit, unit, unit, unit).map(
    lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3]))
)
claims = st.builds(Claim, st.sampled_from(["cat", "dog"]), st.tuples(boxes), st.floats(0, 30))
paths = st.builds(
    Path,
    answer=st.sampled_from(["A", "B", "C", None]),
    thought=st.booleans(),
    relevance=st.sampled_from([0.2, 0.6, 1.0]),
    crops=st.just(1),
    reply=st.just("1"),
    claims=st.lists(claims, max_size=3).map(tuple),
    tokens=st.just(5),
    fault=st.none(),
)
many = st.lists(paths, min_size=1, max_size=8)


def path(answer: str | None, *claimed: Claim, **changes: Any) -> Path:
    return dataclasses.replace(Path(answer, True, 0.2, 0, None, claimed, 5, None), **changes)


def rule(weights: str, ties: str = "abstain") -> Rule:
    return Rule(weights, ties, 1.0, 0.2)


def at(time_s: float, left: float = 0.0) -> Claim:
    return Claim("cat", ((left, 0.0, left + 0.5, 1.0),), time_s)


@given(many, st.randoms(use_true_random=False), st.sampled_from([name for name in RULES if name != "none"]))
def test_order_does_not_matter(found: list[Path], random: Any, weights: str) -> None:
    shuffled = list(found)
    random.shuffle(shuffled)
    one, two = vote(found, rule(weights)), vote(shuffled, rule(weights))
    assert one.answer == two.answer
    assert set(one.tied) == set(two.tied)


@given(many, st.sampled_from(RULES))
def test_weights_lie_between_0_and_1_and_paths_without_answer_have_none(found: list[Path], weights: str) -> None:
    ballot = vote(found, rule(weights))
    assert all(0 <= weight <= 1 for weight in ballot.weights)
    assert all(w == 0 for w, p in zip(ballot.weights, found, strict=True) if p.answer is None or not p.thought)
    if ballot.path is not None:
        assert found[ballot.path].answer == ballot.answer
    if ballot.answer is None:
        assert not any(ballot.weights) or len(ballot.tied) > 1


@given(many)
def test_first_path_settles_ties_and_changes_nothing_else(found: list[Path]) -> None:
    strict, settled = vote(found, rule("confidence")), vote(found, rule("confidence", "first_path"))
    assert settled.answer == (strict.answer or (strict.tied[0] if strict.tied else None))


@given(many, st.integers(0, 7), st.floats(0, 1))
def test_more_weight_never_loses_an_answer(found: list[Path], index: int, more: float) -> None:
    weights = weigh(found, rule("confidence"))
    answers = [p.answer for p in found]
    before = elect(answers, weights, "abstain").answer
    k = index % len(found)
    raised = [weight + (more if j == k else 0.0) for j, weight in enumerate(weights)]
    after = elect(answers, raised, "abstain").answer
    if before is not None and answers[k] == before:
        assert after == before


def test_the_rules_differ_where_they_should() -> None:
    found = [path("A", relevance=0.2), path("A", relevance=0.2), path("B", relevance=0.6), path("C", relevance=0.2)]
    assert vote(found, rule("none")).answer == "A"
    assert vote(found, rule("majority")).answer == "A"
    assert vote(found, rule("confidence")).answer == "B"
    agreeing = [path("A"), path("A"), path("B", at(2)), path("B", at(2))]
    assert vote(agreeing, rule("majority")).tied == ("A", "B")
    assert vote(agreeing, rule("evidence")).answer == "B"


def test_nothing_to_believe_is_no_answer() -> None:
    for found in ([], [path(None)], [path("A", thought=False)], [path("A"), path("B")]):
        ballot = vote(found, rule("majority"))
        assert (ballot.answer, ballot.path) == (None, None)


def test_sums_that_differ_in_their_last_digit_are_tied() -> None:
    assert 0.2 + 0.2 + 0.2 != 0.6
    found = [path("A"), path("A"), path("A"), path("B", relevance=0.6)]
    assert vote(found, rule("confidence")).tied == ("A", "B")


@given(claims, claims)
def test_agreement_is_symmetric_and_at_most_1(one: Claim, two: Claim) -> None:
    assert agreement(one, two, 1.0) == agreement(two, one, 1.0)
    assert 0 <= agreement(one, two, 1.0) <= 1


@given(st.floats(0, 3), st.floats(0, 3))
def test_consistency_falls_with_distance_in_time(near: float, far: float) -> None:
    near, far = sorted((near, far))

    def of(gap: float) -> float:
        found = [path("A", at(5.0)), path("A", at(5.0 + gap))]
        return consistency(found, supports(found, 1.0), [0, 1])[0]

    assert of(far) <= of(near)


def test_consistency_counts_only_peers_with_the_same_answer() -> None:
    found = [path("A", at(2.0)), path("B", at(2.0)), path("A", at(2.0, 0.5)), path("A", at(2.0))]
    table = supports(found, 1.0)
    assert consistency(found, table, range(4)) == [0.5, 0.0, 0.0, 0.5]
    assert consistency(found, table, [0, 3]) == [1.0, 1.0]
    assert weigh(found, rule("evidence")) == pytest.approx((0.6, 0.2, 0.2, 0.6))


def test_repeating_a_claim_earns_nothing_and_an_unsupported_one_costs() -> None:
    peer = path("A", at(2.0))

    def of(*claimed: Claim) -> float:
        found = [path("A", *claimed), peer]
        return consistency(found, supports(found, 1.0), [0, 1])[0]

    assert of(at(2.0), at(2.0)) == of(at(2.0)) == 1.0
    assert of(at(2.0), at(20.0)) == pytest.approx(0.5)


def test_wrong_versions_of_consistency_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def caught() -> bool:
        try:
            test_consistency_counts_only_peers_with_the_same_answer()
            test_repeating_a_claim_earns_nothing_and_an_unsupported_one_costs()
        except AssertionError:
            return True
        return False

    assert not caught()
    for name, version in {
        "agreement": lambda a, b, sigma_s: float(a.time_s == b.time_s),  # boxes ignored
        "_support": lambda own, others, sigma_s: max(
            (agreement(a, b, sigma_s) for a in own for b in others), default=0.0
        ),
        "_consistency": lambda k, found, table, chosen: sum(table[k][j] for j in chosen) / len(chosen),  # itself, all
    }.items():
        with monkeypatch.context() as patch:
            patch.setattr(consistencies, name, version)
            assert caught(), name


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"weights": "most"}, "weights"),
        ({"ties": "A"}, "ties"),
        ({"sigma_s": 0.0}, "sigma_s"),
        ({"floor": 2.0}, "floor"),
    ],
)
def test_bad_settings_are_named(change: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=f"voting.{key}"):
        Rule(**({"weights": "majority", "ties": "abstain", "sigma_s": 1.0, "floor": 0.2} | change))
