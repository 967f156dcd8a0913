"""Batches over any ranks, cuts and changes of size hold every sample of the order once, in classes and windows."""

from __future__ import annotations

import pickle
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from o3v.data.lengths import padded_tokens
from o3v.data.mix import modality
from o3v.data.order import BatchOrder, Grouping
from o3v.data.schedule import Schedule
from o3v.errors import ConfigError
from tests.data.test_mix import mix_of, samples

CLASSES = {"film": "video", "gqa": "image", "chat": "text"}
PLAIN, BY_LENGTH = Grouping(False, 0), Grouping(False, 3)


def rows(**counts):
    """Rows of three modalities, by the first letters of their source."""
    found = []
    for row in samples(**counts):
        media = CLASSES[row.source]
        found.append(
            replace(row, video_path="v" if media == "video" else None, image_path="i" if media == "image" else None)
        )
    return found


DATA = rows(film=23, gqa=11, chat=5)
LENGTHS = [int(n) for n in np.random.default_rng(5).lognormal(5, 1, len(DATA))]


def batches_of(grouping=PLAIN, size=4, seed=0, weights=None, data=DATA, lengths=LENGTHS) -> BatchOrder:
    order = mix_of(weights or {}).order(data, seed)
    return grouping.batches(order, lengths, Schedule.even(size, 1000))


def flat(batches: BatchOrder, indices) -> list[int]:
    return [number for index in indices for number in batches.batch(index)]


GROUPINGS = st.builds(Grouping, st.booleans(), st.integers(0, 5))


def test_without_grouping_batches_are_the_order_itself():
    batches = batches_of()
    assert flat(batches, range(50)) == [batches.order[position] for position in range(200)]


@given(grouping=GROUPINGS, size=st.integers(1, 9), seed=st.integers(0, 99), index=st.integers(0, 400))
def test_a_batch_is_a_function_of_its_number(grouping, size, seed, index):
    walked, fresh = batches_of(grouping, size, seed), batches_of(grouping, size, seed)
    for before in (index + 7, 0, index // 2):
        walked.batch(before)
    assert walked.batch(index) == fresh.batch(index) == pickle.loads(pickle.dumps(walked)).batch(index)
    assert len(fresh.batch(index)) == size


@given(
    grouping=GROUPINGS,
    seed=st.integers(0, 99),
    weights=st.sampled_from([{}, {"source": {"film": 0.4, "gqa": 2.3}}]),
    changes=st.lists(st.tuples(st.integers(0, 12), st.integers(1, 13)), min_size=1, max_size=4),
)
@settings(max_examples=150)
def test_over_any_changes_of_the_batch_size_no_sample_is_lost_or_comes_twice(grouping, seed, weights, changes):
    """Every class' stream is seen without gap: after e whole epochs each sample has come as often as e draws say."""
    batches, index = batches_of(grouping, 4, seed, weights), 0
    seen: list[int] = []
    for count, size in changes:
        seen += flat(batches, range(index, index + count))
        index += count
        batches = batches.continued(index, size)
    seen += flat(batches, range(index, index + 40))
    assert batches.schedule.samples_before(index + 40) == len(seen)
    order = batches.order
    epochs = [order.epoch(e).tolist() for e in range(len(seen) // order.epoch_length + 40)]
    for name in sorted(set(CLASSES.values())) if grouping.same_modality else [None]:
        mine = [n for n in seen if name is None or modality(DATA[n]) == name]
        wanted = [[n for n in epoch if name is None or modality(DATA[n]) == name] for epoch in epochs]
        for epoch in wanted:
            part, mine = mine[: len(epoch)], mine[len(epoch) :]
            assert not Counter(part) - Counter(epoch)  # equal where the epoch is whole
            if grouping.length_window == 0:
                assert part == epoch[: len(part)]
        assert not mine


@given(
    ranks=st.lists(st.sampled_from([1, 2, 3, 4, 6, 12]), min_size=1, max_size=4),
    cuts=st.lists(st.integers(0, 9), min_size=4, max_size=4),
    grouping=GROUPINGS,
)
def test_other_ranks_with_equal_batches_see_the_undisturbed_order(ranks, cuts, grouping):
    undisturbed = batches_of(grouping, 12)
    seen, index = [], 0
    for world_size, count in zip(ranks, cuts, strict=False):
        batches = undisturbed.continued(index, 12)
        assert batches is undisturbed
        for i in range(index, index + count):
            whole, part = batches.batch(i), 12 // world_size
            seen += [n for rank in range(world_size) for n in whole[rank * part : (rank + 1) * part]]
        index += count
    assert seen == flat(undisturbed, range(index))


@given(seed=st.integers(0, 99), order=st.randoms(use_true_random=False), grouping=GROUPINGS)
def test_the_order_of_rows_in_the_file_has_no_influence(seed, order, grouping):
    shuffled = list(zip(DATA, LENGTHS, strict=True))
    order.shuffle(shuffled)
    data, lengths = zip(*shuffled, strict=True)
    one, other = batches_of(grouping, 5, seed), batches_of(grouping, 5, seed, data=data, lengths=lengths)
    ids = [[DATA[n].id for n in one.batch(i)] for i in range(30)]
    assert ids == [[data[n].id for n in other.batch(i)] for i in range(30)]
    assert one.fingerprint(DATA) == other.fingerprint(data)


def test_rows_of_one_id_stay_in_the_order_of_their_file():
    double = [replace(row, id="same") for row in DATA]
    order = mix_of({}).order(double, 0)
    assert all(list(group) == sorted(group) for group in order.groups)


@pytest.mark.parametrize("size", [1, 4, 7, 16])
def test_batches_of_one_modality(size):
    batches = batches_of(Grouping(True, 2), size)
    kinds = [{modality(DATA[n]) for n in batches.batch(i)} for i in range(200)]
    assert all(len(kind) == 1 for kind in kinds)
    shares = Counter(next(iter(kind)) for kind in kinds)
    assert shares == pytest.approx({"video": 200 * 23 / 39, "image": 200 * 11 / 39, "text": 200 * 5 / 39}, abs=3)
    labels = [next(iter(kind)) for kind in kinds]
    assert len({tuple(labels[i : i + 3]) for i in range(0, 60, 3)}) > 3  # mixed, not one kind after the other


def test_mixed_batches_are_not_of_one_modality():
    batches = batches_of(PLAIN)
    assert any(len({modality(DATA[n]) for n in batches.batch(i)}) > 1 for i in range(10))


MANY = rows(film=400, gqa=150, chat=57)
SPREAD = [int(n) for n in np.random.default_rng(1).lognormal(6, 0.8, len(MANY))]


@pytest.mark.parametrize("window", [1, 4, 16])
def test_windows_of_similar_lengths_save_padding_and_stay_within_their_epoch(window):
    size, epoch = 8, len(MANY)
    grouped = batches_of(Grouping(False, window), size, data=MANY, lengths=SPREAD)
    plain = batches_of(PLAIN, size, data=MANY, lengths=SPREAD)
    seen = flat(grouped, range(3 * epoch // size))
    for e in range(2):
        assert Counter(seen[e * epoch : (e + 1) * epoch]) == Counter(range(epoch))
    cost = [padded_tokens([[SPREAD[n] for n in b.batch(i)] for i in range(150)]) for b in (grouped, plain)]
    assert (cost[0] < 0.7 * cost[1]) if window > 1 else (cost[0] <= 1.02 * cost[1])
    reach = window * size + size
    places = [grouped.order.epoch(0).tolist().index(n) for n in seen[:epoch]]
    assert max(abs(place - at) for at, place in enumerate(places)) <= reach


def test_long_and_short_batches_alternate():
    grouped = batches_of(Grouping(False, 16), 8, data=MANY, lengths=SPREAD)
    means = [np.mean([SPREAD[n] for n in grouped.batch(i)]) for i in range(64)]
    assert abs(np.corrcoef(range(64), means)[0, 1]) < 0.4
    rises = sum(b > a for a, b in pairwise(means))
    assert 20 < rises < 44  # sorted batches would rise 60 times


def test_lengths_are_asked_for_where_they_are_needed():
    with pytest.raises(ConfigError, match="needs the samples' lengths"):
        batches_of(BY_LENGTH, lengths=None)
    with pytest.raises(ConfigError, match=r"data\.grouping\.length_window=-1"):
        Grouping(False, -1)


def test_other_data_has_another_fingerprint():
    prints = [
        batches_of().fingerprint(DATA),
        batches_of(seed=1).fingerprint(DATA),
        batches_of(weights={"source": {"gqa": 2}}).fingerprint(DATA),
        batches_of(BY_LENGTH).fingerprint(DATA),
        batches_of(data=DATA[1:], lengths=LENGTHS[1:]).fingerprint(DATA[1:]),
    ]
    assert len(set(prints)) == len(prints)


# ---- wrong versions


def leaking(batches: BatchOrder) -> BatchOrder:
    """Windows that run over the end of an epoch."""

    class Leaking(BatchOrder):
        def _arranged(self, stream, epoch):
            two = np.concatenate([self._of_class(stream, 2 * (epoch // 2) + k) for k in (0, 1)])
            half = len(two) // 2
            generator = self.order.generator(3, stream, epoch // 2)
            return self._sorted_in_windows(two, 0, 8, generator)[(epoch % 2) * half :][:half]

    return Leaking(batches.order, batches.grouping, batches.lengths, batches.schedule)


def test_windows_that_leak_into_the_next_epoch_are_caught():
    grouped = leaking(batches_of(Grouping(False, 16), 8, data=MANY, lengths=SPREAD))
    seen = flat(grouped, range(2 * len(MANY) // 8))
    assert Counter(seen[: len(MANY)]) != Counter(range(len(MANY)))


def test_a_cut_that_is_off_by_one_batch_is_caught():
    batches = batches_of()
    right = flat(batches, range(5)) + flat(batches.continued(5, 6), range(5, 11))
    late = flat(batches, range(5)) + flat(batches.continued(6, 6), range(6, 12))
    assert right == flat(batches, range(14)) and late[:56] != right[:56]


def test_batches_cut_anew_by_their_number_alone_are_caught():
    """What assumes a fixed world size: batch i of the new size begins at i times the new size."""
    batches = batches_of()
    naive = flat(batches, range(5)) + flat(batches_of(size=6), range(5, 8))
    assert naive[:38] != flat(batches, range(9)) + list(batches.batch(9)[:2])
