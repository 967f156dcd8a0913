"""Runs that go on with other processes, loader workers and batch sizes see the order of an undisturbed one."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from o3v.data.order import Grouping
from o3v.data.schedule import Schedule
from o3v.data.stream import BatchLoader, SampleStream
from o3v.errors import MediaError
from tests.data.test_mix import DATA, mix_of
from tests.data.test_stream import Prepare, ids, policy  # noqa: F401  (a fixture)
from tests.training.steps import sample

LENGTHS = [(7 * n) % 13 for n in range(len(DATA))]


def no_prompt(row):
    return None


def stream_of(grouping, world_size=1, rank=0, size=12, batches=30, broken=(), seed=0) -> SampleStream:
    order = mix_of({"source": {"gqa": 1.6}}).order(DATA, seed)

    def prepare(row):
        if row.id in broken:
            raise MediaError(row.id, "cut off")
        return no_prompt(row)

    made = grouping.batches(order, LENGTHS, Schedule.even(size, batches))
    return SampleStream(DATA, made, prepare, rank, world_size)


def read_all(streams, indices):
    """(position, sample) of everything that the processes of a run read."""
    reads = [stream.read(index) for index in indices for stream in streams]
    return [(p, e.sample.id) for read in reads for p, e in zip(read.positions, read.examples, strict=True)]


PARTS = st.lists(st.tuples(st.integers(0, 6), st.sampled_from([1, 2, 3, 4])), min_size=1, max_size=4)
GROUPINGS = st.builds(Grouping, st.booleans(), st.integers(0, 4))


@given(parts=PARTS, grouping=GROUPINGS, seed=st.integers(0, 9))
@settings(max_examples=60)
def test_what_all_ranks_saw_is_the_undisturbed_order(parts, grouping, seed):
    """Cut anywhere, each part with another number of ranks; batches over all of them stay as large."""
    whole = stream_of(grouping, seed=seed)
    seen, index, state = [], 0, whole.state()
    for count, world_size in parts:
        ranks = [stream_of(grouping, world_size, rank, seed=seed).continued(state, index) for rank in range(world_size)]
        seen += read_all(ranks, range(index, index + count))
        index, state = index + count, ranks[-1].state()
    assert seen == read_all([whole], range(index))
    assert [position for position, _ in seen] == list(range(12 * index))


@given(parts=st.lists(st.tuples(st.integers(0, 6), st.integers(1, 4), st.integers(1, 3)), min_size=1, max_size=4))
@settings(max_examples=60)
def test_with_batches_of_another_size_it_is_the_same_order_too(parts):
    plain = Grouping(False, 0)
    seen, index, state = [], 0, None
    for count, world_size, per_rank in parts:
        ranks = [stream_of(plain, world_size, rank, size=world_size * per_rank) for rank in range(world_size)]
        ranks = ranks if state is None else [rank.continued(state, index) for rank in ranks]
        seen += read_all(ranks, range(index, index + count))
        index, state = index + count, ranks[0].state()
    order = stream_of(plain).batches.order
    assert seen == [(p, DATA[order[p]].id) for p in range(len(seen))]


@given(broken=st.sets(st.sampled_from([row.id for row in DATA])), world_size=st.sampled_from([1, 2, 4]))
@settings(max_examples=30)
def test_broken_samples_leave_gaps_and_move_no_other(broken, world_size):
    grouping = Grouping(False, 2)
    right = read_all([stream_of(grouping)], range(8))
    found = read_all([stream_of(grouping, world_size, rank, broken=broken) for rank in range(world_size)], range(8))
    assert found == [(position, name) for position, name in right if name not in broken]


def test_another_size_and_other_data_are_told(caplog):
    before = stream_of(Grouping(False, 0), size=12, batches=30)
    state = before.state()
    with caplog.at_level(logging.WARNING):
        assert stream_of(Grouping(False, 0), 4, 0, size=12).continued(state, 5).schedule == before.schedule
        assert not caplog.records
        after = stream_of(Grouping(False, 0), size=8).continued(state, 5)
        assert "a batch now has 8 samples instead of 12: going on at sample 60 of 360, 43 batches in all" in caplog.text
        assert after.schedule.batches == 43 and after.schedule.progress(5) == before.schedule.progress(5)
        caplog.clear()
        stream_of(Grouping(False, 0), seed=1).continued(state, 5)
        assert "is not what it was when the state was saved" in caplog.text


def test_a_state_without_segments_goes_on_by_its_number():
    stream = stream_of(Grouping(False, 0))
    assert stream.continued({}, 7) is stream


@pytest.mark.parametrize("workers", [0, 2])
def test_true_loaders_with_workers_and_ranks(policy, workers):  # noqa: F811
    """Six batches by one process, the rest by two with loader workers, the last of another size."""
    rows = [sample(n) for n in range(7)]

    def loader(size, rank, world_size):
        order = mix_of({}).order(rows, 0)
        batches = Grouping(True, 2).batches(order, [n % 3 for n in range(7)], Schedule.even(size, 12))
        return BatchLoader(SampleStream(rows, batches, Prepare(policy, ("s4",)), rank, world_size), policy, workers)

    whole = list(loader(4, 0, 1))
    first = loader(4, 0, 1)
    state = first.stream.state()
    pairs = [loader(4, rank, 2) for rank in (0, 1)]
    for one in pairs:
        one.go_on(state, 6)
        assert len(one) == 12
    halves = [list(one) for one in pairs]
    assert [a.index for a in halves[0]] == [b.index for b in halves[1]] == list(range(6, 12))
    together = [ids(a) + ids(b) for a, b in zip(*halves, strict=True)]
    assert together == [ids(batch) for batch in whole[6:]]
    assert [a.positions + b.positions for a, b in zip(*halves, strict=True)] == [b.positions for b in whole[6:]]
    other = loader(2, 0, 1)
    other.go_on(pairs[0].stream.state(), 10)
    assert len(other) == 14 and sum(len(b.examples) + len(b.faults) for b in other) == 8


# ---- wrong versions


def test_an_order_by_rank_or_worker_is_caught(policy):  # noqa: F811
    """Each rank shuffles for itself: samples come twice and others not at all."""
    ranks = [stream_of(Grouping(False, 0), 2, rank, size=4, seed=rank) for rank in (0, 1)]
    whole = stream_of(Grouping(False, 0), size=4)
    assert read_all(ranks, range(7)) != read_all([whole], range(7))


def test_a_continuation_off_by_one_batch_is_caught():
    whole, cut = stream_of(Grouping(False, 0)), stream_of(Grouping(False, 0), size=6)
    state = whole.state()
    right = read_all([whole], range(5)) + read_all([cut.continued(state, 5)], range(5, 15))
    assert right == read_all([whole], range(10))
    for wrong in (4, 6):
        assert read_all([whole], range(5)) + read_all([cut.continued(state, wrong)], range(wrong, wrong + 10)) != right


def test_a_batch_number_taken_for_a_position_is_caught():
    """What a loader does that knows of one batch size only."""
    whole, cut = stream_of(Grouping(False, 0)), stream_of(Grouping(False, 0), size=6)
    assert read_all([whole], range(5)) + read_all([cut], range(5, 15)) != read_all([whole], range(10))


def test_a_training_run_goes_on_with_other_batches(tmp_path):
    from tests.training.runs import Session, StopAfter, Stopped

    whole = Session(tmp_path / "whole", batches=8).fit()
    with pytest.raises(Stopped):
        Session(tmp_path / "cut", batches=8, save_every=2).fit(StopAfter(5))
    later = Session(tmp_path / "cut", batches=8)
    smaller = later.loader.stream.batches.following(Schedule.even(1, 16))
    later.loader.stream = replace(later.loader.stream, batches=smaller)
    later.fit()
    assert sorted(later.recorder.samples) == list(range(4, 12)) and len(later.loader) == 12
    seen = [name for index in sorted(later.recorder.samples) for name in later.recorder.samples[index]]
    assert seen == [name for index in range(4, 8) for name in whole.recorder.samples[index]]
    lrs = [later.recorder.metrics[index]["lr"] for index in range(4, 12, 2)]
    assert lrs == [whole.recorder.metrics[index]["lr"] for index in range(4, 8)]
