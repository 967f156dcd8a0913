"""The order is a pure function of (seed, position), keeps the weights, and starts anywhere."""

from __future__ import annotations

import pickle
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from o3v.data.difficulty import Difficulty
from o3v.data.mix import DataMix
from o3v.errors import ConfigError
from o3v.types import Sample, Task


def samples(**counts: int) -> list[Sample]:
    """`counts` samples of each source; sources that start with g are visual QA, the others temporal."""
    return [
        Sample(
            id=f"{source}-{number}",
            source=source,
            task=Task.VISUAL_QA if source.startswith("g") else Task.TEMPORAL_QA,
            question="?",
            answer="",
            reasoning="",
            video_path=None,
            image_path=None,
            key_frames=(),
            span_s=None,
            box=None,
            letter=None,
        )
        for source, count in counts.items()
        for number in range(count)
    ]


def mix_of(weights, amounts=None, file=None) -> DataMix:
    return DataMix(weights, amounts or {}, Difficulty({"hard": 0.25, "medium": 0.75, "easy": 1.0}, file))


DATA = samples(gqa=10, timerft=6, TVG_tacos=4)


def test_without_weights_every_epoch_is_a_new_permutation():
    order = mix_of({}).order(DATA, seed=3)
    epochs = [[order[e * 20 + i] for i in range(20)] for e in range(3)]
    assert order.epoch_length == 20
    assert all(sorted(epoch) == list(range(20)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_weights_set_how_often_a_group_comes():
    mix = mix_of({"source": {"gqa": 2, "timerft": 0.5}, "task": {"temporal QA": 1}})
    order = mix.order(DATA, seed=0)
    assert order.epoch_length == 20 + 3 + 4
    for epoch in range(4):
        drawn = Counter(DATA[order[epoch * 27 + i]].source for i in range(27))
        assert drawn == {"gqa": 20, "timerft": 3, "TVG_tacos": 4}
    per_sample = Counter(DATA[order[i]].id for i in range(2 * 27))
    assert {per_sample[f"gqa-{n}"] for n in range(10)} == {4}
    assert {per_sample[f"timerft-{n}"] for n in range(6)} == {1}


def test_weights_of_source_and_task_multiply_and_zero_leaves_out():
    mix = mix_of({"source": {"gqa": 3, "timerft": 0}, "task": {"visual QA": 0.1}})
    order = mix.order(DATA, seed=0)
    assert Counter(DATA[order[i]].source for i in range(order.epoch_length)) == {"gqa": 3, "TVG_tacos": 4}


@given(seed=st.integers(-5, 2**64), position=st.integers(0, 10**9))
def test_a_position_does_not_depend_on_what_was_read_before(seed: int, position: int):
    mix = mix_of({"source": {"gqa": 1.7, "timerft": 0.3}})
    walked = mix.order(DATA, seed)
    for before in (position + 50, 0, position // 2):
        walked[before]
    fresh = mix.order(DATA, seed)
    assert walked[position] == fresh[position]
    assert 0 <= fresh[position] < len(DATA)


def test_ranks_and_restarts_see_one_stream():
    order = mix_of({"source": {"gqa": 1.5}}).order(DATA, seed=7)
    whole = [order[i] for i in range(120)]
    by_rank = [[pickle.loads(pickle.dumps(order))[i] for i in range(rank, 120, 3)] for rank in range(3)]
    assert [by_rank[i % 3][i // 3] for i in range(120)] == whole
    resumed = order.iterate(start=47)
    assert [next(resumed) for _ in range(73)] == whole[47:]


def test_seeds_differ():
    orders = [[mix_of({}).order(DATA, seed)[i] for i in range(20)] for seed in range(4)]
    assert len({tuple(order) for order in orders}) == 4


@given(weight=st.floats(0.01, 3.0), epochs=st.integers(1, 6))
def test_members_of_a_group_come_equally_often(weight: float, epochs: int):
    order = mix_of({"source": {"gqa": weight}}).order(DATA, seed=1)
    counts = Counter(order[i] for i in range(epochs * order.epoch_length))
    gqa = [counts[n] for n, sample in enumerate(DATA) if sample.source == "gqa"]
    assert max(gqa) - min(gqa) <= 1
    assert sum(gqa) == epochs * max(round(10 * weight), 1)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"sauce": {}}, r"mix\.weights\.sauce: unknown, allowed are source, task, difficulty, modality"),
        ({"source": {"gqa": -1}}, r"mix\.weights\.source\.gqa=-1: wanted a number of 0 or more"),
        ({"source": {"gqa": "much"}}, r"mix\.weights\.source\.gqa='much'"),
        ({"source": {"gqu": 1}}, r"mix\.weights\.source\.gqu: no sample has it; present are TVG_tacos, gqa, timerft"),
        ({"task": {"QA": 1}}, r"mix\.weights\.task\.QA: no sample has it; present are temporal QA, visual QA"),
        ({"task": {"temporal QA": 0, "visual QA": 0}}, "no sample is left"),
    ],
)
def test_impossible_weights_are_named(weights: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        mix_of(weights).order(DATA, seed=0)


def test_amounts_are_exact_draws_divided_by_weights():
    order = mix_of({"source": {"timerft": 2}}, {"task": {"temporal QA": 9}, "source": {"gqa": 3}}).order(DATA, 0)
    for epoch in range(3):
        drawn = Counter(DATA[order[epoch * 12 + i]].source for i in range(12))
        assert drawn == {"gqa": 3, "timerft": 7, "TVG_tacos": 2}  # 9 in proportion 12 : 4, by largest remainders


def test_the_paper_s_general_data_by_amounts():
    """15k general video QA beside all of the rest (arXiv:2510.20579, A.2), scaled to a hundredth."""
    data = samples(TVG=41, TreeVGR=50, STR=59, videor1_mcq=260, videor1_free_from=40)
    order = mix_of({}, {"source": {"videor1_mcq": 130, "videor1_free_from": 20}}).order(data, 0)
    drawn = Counter(data[order[i]].source for i in range(order.epoch_length))
    assert drawn == {"TVG": 41, "TreeVGR": 50, "STR": 59, "videor1_mcq": 130, "videor1_free_from": 20}


@given(
    amount=st.integers(0, 200),
    weights=st.dictionaries(st.sampled_from(["timerft", "TVG_tacos"]), st.floats(0.01, 5)),
)
def test_an_amount_is_kept_whatever_the_weights(amount: int, weights: dict):
    order = mix_of({"source": weights}, {"task": {"temporal QA": amount}}).order(DATA, 0)
    assert order.epoch_length == 10 + amount


@pytest.mark.parametrize(
    ("amounts", "message"),
    [
        ({"source": {"gqa": 1.5}}, r"mix\.amounts\.source\.gqa=1\.5: wanted a whole number of 0 or more"),
        ({"source": {"gqu": 3}}, r"mix\.amounts\.source\.gqu: no sample has it"),
        ({"sauce": {}}, r"mix\.amounts\.sauce: unknown, allowed are source, task, difficulty, modality"),
        (
            {"source": {"gqa": 3}, "task": {"visual QA": 4}},
            r"mix\.amounts\.task\.visual QA: gqa, visual QA already stands under mix\.amounts\.source\.gqa",
        ),
    ],
)
def test_impossible_amounts_are_named(amounts: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        mix_of({}, amounts).order(DATA, seed=0)


def test_an_amount_of_what_weights_leave_out_is_named():
    with pytest.raises(ConfigError, match=r"mix\.amounts\.source\.gqa=5: weights leave no sample of it"):
        mix_of({"source": {"gqa": 0}}, {"source": {"gqa": 5}}).order(DATA, 0)


def test_weights_that_are_ignored_are_caught():
    """An order that draws every sample once an epoch is not that of a mix with weights."""
    weighed = mix_of({"source": {"gqa": 2}}).order(DATA, 0)
    ignored = replace(weighed, sizes=tuple(len(group) for group in weighed.groups), _epochs={})
    assert Counter(DATA[weighed[i]].source for i in range(30)) == {"gqa": 20, "timerft": 6, "TVG_tacos": 4}
    assert Counter(DATA[ignored[i]].source for i in range(20)) != {"gqa": 13, "timerft": 4, "TVG_tacos": 3}
    assert ignored.epoch_length == 20 != weighed.epoch_length
