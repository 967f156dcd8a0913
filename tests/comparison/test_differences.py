"""Paired differences: golden numbers, what they do not depend on, and wrong versions that must be caught."""

import math

import numpy as np
import pytest

from o3v.benchmarks.pairs import RecordScores
from o3v.benchmarks.permutation import swap_test
from o3v.comparison import differences
from o3v.comparison.differences import paired_differences, pairs_of, verdict
from o3v.comparison.student import quantile_95, two_sided_p
from o3v.comparison.twoway import Spread, two_way
from tests.comparison.studies import record

PLAIN = RecordScores(resamples=50, seed=0)
SEEDS = ("s0", "s1", "s2")


class Product(RecordScores):
    """With a number made of means."""

    def derived(self, names):
        return {"product": lambda means: means["acc"] * means["tiou"]}


def compared(a, b, videos, benchmark=PLAIN, exchanges=999, metrics=("acc",)):
    """Difference of two arms from [S, N] tables of one column."""
    records, pairs = {}, []
    for seed, (of_a, of_b) in enumerate(zip(a, b, strict=True)):
        for arm, values in (("a", of_a), ("b", of_b)):
            records[f"{arm}{seed}"] = [record(f"q{i}", {"acc": v}, videos[i]) for i, v in enumerate(values)]
        pairs.append((f"a{seed}", f"b{seed}"))
    return paired_differences(records, benchmark, pairs, metrics, exchanges)["acc"]


def test_worked_by_hand():
    """Two seeds, three videos with one question each. Differences: seed 0: 1, 0, 1; seed 1: 1, 0, 0.

    Means by seed 2/3, 1/3; by video 1, 0, 1/2; all 1/2. MS_seed = 3 * 2 * (1/6)^2 = 1/6,
    MS_video = 2 * (1/4 + 1/4) / 2 = 1/2, MS_rest = (1/3) / 2 = 1/6: the seeds differ no more than the rest does.
    """
    a = np.array([[1, 1, 1], [1, 1, 0]], dtype=float)
    b = np.array([[0, 1, 0], [0, 1, 0]], dtype=float)
    found = compared(a, b, ["x", "y", "z"])
    assert (found.seeds, found.videos, found.questions) == (2, 3, 3)
    assert found.spread.value == pytest.approx(0.5)
    assert found.spread.se == pytest.approx(math.sqrt(0.5 / 6))
    assert found.spread.df == pytest.approx(2)
    assert found.spread.p == pytest.approx(two_sided_p(0.5 / math.sqrt(0.5 / 6), found.spread.df))
    assert found.p_exchange == 0.5  # sums by video 2, 0, 1: of 8 exchanges 4 are as extreme
    assert found.p == 0.5


def test_several_questions_of_one_video_are_one_cluster():
    """Copying every question does not make anything surer."""
    rng = np.random.default_rng(0)
    a, b = rng.random((3, 30)), rng.random((3, 30))
    videos = [f"v{k}" for k in range(30)]
    once = compared(a, b, videos)
    thrice = compared(np.tile(a, 3), np.tile(b, 3), videos * 3)
    assert thrice.questions == 90 and thrice.videos == 30
    for name in ("value", "se", "p", "df"):
        assert getattr(thrice.spread, name) == pytest.approx(getattr(once.spread, name))
    assert thrice.p_exchange == once.p_exchange


def test_identical_arms_differ_by_nothing():
    values = np.random.default_rng(1).random((3, 40))
    found = compared(values, values, [f"v{k // 2}" for k in range(40)])
    assert (found.spread.value, found.spread.low, found.spread.high) == (0.0, 0.0, 0.0)
    assert (found.spread.p, found.p_exchange, found.p) == (1.0, 1.0, 1.0)


def test_exchanging_the_arms_exchanges_the_sign():
    rng = np.random.default_rng(2)
    a, b = rng.random((2, 25)), rng.random((2, 25))
    videos = [f"v{k // 2}" for k in range(25)]
    one, two = compared(a, b, videos), compared(b, a, videos)
    assert one.spread.value == pytest.approx(-two.spread.value)
    assert (one.spread.low, one.p) == (pytest.approx(-two.spread.high), pytest.approx(two.p))


def test_only_common_questions_count():
    shared = [record(f"q{i}", {"acc": float(i % 2)}) for i in range(6)]
    records = {"a": [*shared, record("own", {"acc": 1.0})], "b": [*shared[:5], record("other", {"acc": 0.0})]}
    found = paired_differences(records, PLAIN, [("a", "b")], ("acc",), 99)["acc"]
    assert (found.questions, found.spread.value) == (5, 0.0)
    assert paired_differences({"a": shared[:2], "b": shared[3:]}, PLAIN, [("a", "b")], ("acc",), 99) == {}


def test_a_number_made_of_means_is_made_seed_by_seed():
    rng = np.random.default_rng(4)
    records = {
        key: [record(f"q{i}", {"acc": float(rng.random() < p), "tiou": float(rng.random())}) for i in range(50)]
        for key, p in (("a0", 0.7), ("a1", 0.6), ("b0", 0.4), ("b1", 0.5))
    }
    pairs = [("a0", "b0"), ("a1", "b1")]
    found = paired_differences(records, Product(50, 0), pairs, ("product",), 999)["product"]
    means = {key: {n: np.mean([r.scores[n] for r in rows]) for n in ("acc", "tiou")} for key, rows in records.items()}
    own = [means[a]["acc"] * means[a]["tiou"] - means[b]["acc"] * means[b]["tiou"] for a, b in pairs]
    assert found.spread.value == pytest.approx(np.mean(own))
    assert 0 < found.p_exchange <= 1


def test_the_exchange_test_of_one_seed_is_that_of_pairs():
    rng = np.random.default_rng(6)
    a, b = rng.random((1, 30)), rng.random((1, 30))
    videos = [f"v{k // 3}" for k in range(30)]
    alone = swap_test({"acc": a[0]}, {"acc": b[0]}, videos, {}, 2000, 0)["acc"]
    assert compared(a, b, videos, exchanges=2000).p_exchange == alone


@pytest.mark.parametrize(
    ("low", "high", "p", "sign", "told"),
    [
        (0.01, 0.2, 0.04, 1, "better"),
        (-0.2, -0.01, 0.04, 1, "worse"),
        (0.01, 0.2, 0.04, -1, "worse"),
        (0.01, 0.2, 0.06, 1, "no difference shown"),
        (-0.01, 0.2, 0.01, 1, "no difference shown"),
        (0.0, 0.2, 0.01, 1, "no difference shown"),
        (math.nan, math.nan, math.nan, 1, "no difference shown"),
    ],
)
def test_what_may_be_said(low, high, p, sign, told):
    assert verdict(Spread(0.1, low, high, 0.05, 9, p, "seeds and videos"), p, sign) == told


def test_pairs_do_not_depend_on_the_order_of_seeds():
    arm, base = {0: "a0", 1: "a1", 2: "a2"}, {2: "b2", 0: "b0"}
    assert pairs_of(arm, base) == pairs_of(dict(reversed(arm.items())), base) == [("a0", "b0"), ("a2", "b2")]


# Wrong versions. Each is run on the data on which it must come out wrong; `reference` says what is right.


def video_effects(rng, seeds=3, videos=40, questions=3):
    """Equal arms; what a video adds to the difference is the same under all seeds and for all its questions."""
    names = [f"v{k:02d}" for k in np.repeat(np.arange(videos), questions)]
    of_video = np.repeat(rng.standard_normal(videos), questions)
    a = of_video + 0.3 * rng.standard_normal((seeds, len(names)))
    return a, 0.3 * rng.standard_normal(a.shape), names


def hard_and_easy(rng, n=60):
    """One arm better by 0.2 on every question, questions very unlike."""
    base = 3 * rng.standard_normal(n) + 0.05 * rng.standard_normal((3, n))
    return base + 0.2 + 0.05 * rng.standard_normal((3, n)), base, [f"v{k}" for k in range(n)]


def unpaired(a, b, videos):
    """Two means with independent errors."""
    se = math.sqrt(a.mean(axis=0).var(ddof=1) / a.shape[1] + b.mean(axis=0).var(ddof=1) / b.shape[1])
    return two_sided_p((a.mean() - b.mean()) / se, a.shape[1] - 1)


def without_clusters(a, b, videos):
    return two_way(a - b).p


def seeds_as_questions(a, b, videos):
    return two_way((a - b).reshape(1, -1)).p


def right(a, b, videos):
    return compared(a, b, videos, exchanges=199).p


def rejected(test, draw, repeats=60):
    """Share of p below 0.05."""
    return np.mean([test(*draw(np.random.default_rng(seed))) < 0.05 for seed in range(repeats)])


def test_the_right_version_keeps_its_level_and_finds_what_is_there():
    assert rejected(right, video_effects) <= 0.15
    assert rejected(right, hard_and_easy, 10) == 1.0


@pytest.mark.parametrize("wrong", [without_clusters, seeds_as_questions])
def test_mutant_that_is_too_sure(wrong):
    assert rejected(wrong, video_effects) > 0.2


def test_mutant_that_is_not_paired():
    assert rejected(unpaired, hard_and_easy, 10) == 0.0


def test_mutant_that_calls_everything_better(monkeypatch):
    """An interval with 0 in it must not be called better; this wrong verdict does it."""
    spread = Spread(0.1, -0.05, 0.25, 0.07, 30, 0.2, "seeds and videos")
    monkeypatch.setattr(differences, "verdict", lambda found, p, sign: "better" if found.value > 0 else "worse")
    assert differences.verdict(spread, 0.2, 1) == "better"
    assert verdict(spread, 0.2, 1) == "no difference shown"


def test_a_seed_that_differs_widens_the_interval():
    """Fixed questions, seeds far apart: three seeds are three observations, not thousands."""
    rng = np.random.default_rng(0)
    of_seed = np.array([[0.6], [0.0], [0.15]])
    a, b = of_seed + 0.1 * rng.standard_normal((3, 300)), 0.1 * rng.standard_normal((3, 300))
    found = compared(a, b, [f"v{k}" for k in range(300)])
    assert found.spread.low < 0 < found.spread.high and found.spread.df < 3
    assert found.spread.high - found.spread.value == pytest.approx(quantile_95(found.spread.df) * found.spread.se)
