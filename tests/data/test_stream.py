"""Batches by number: the same for any number of workers, ranks and restarts; faults do not stop them."""

from dataclasses import replace

import pytest
import torch

from o3v.data.order import Grouping
from o3v.data.schedule import Schedule
from o3v.data.stream import BatchLoader, CaptionStream, SampleStream
from o3v.errors import MediaError
from tests import tiny
from tests.data.test_mix import mix_of
from tests.training.runs import Session
from tests.training.steps import sample

N = 7


@pytest.fixture(scope="module")
def policy():
    return tiny.random_policy("qwen2_5_vl", 1.0)


class Prepare:
    """Prompts from generated scenes; the rows named in `broken` cannot be decoded."""

    def __init__(self, policy, broken=()):
        self.policy, self.broken = replace(policy, model=None), broken

    def __call__(self, row):
        if row.id in self.broken:
            raise MediaError(f"{row.id}.mp4", "cut off")
        return tiny.clip_prompt(self.policy, 1 + int(row.id[1:]) % 3, int(row.id[1:]))


def stream_of(policy, steps=6, broken=(), rank=0, world_size=1, batch_size=2, seed=0):
    samples = [sample(n) for n in range(N)]
    order = mix_of({}).order(samples, seed)
    batches = Grouping(False, 0).batches(order, None, Schedule.even(batch_size * world_size, steps))
    return SampleStream(samples, batches, Prepare(policy, broken), rank, world_size)


def ids(batch):
    return [example.sample.id for example in batch.examples]


def same(a, b):
    if ids(a) != ids(b) or a.index != b.index:
        return False
    pairs = [*zip(vars(a.encoded).values(), vars(b.encoded).values(), strict=True)]
    pairs += [(a.target_ids, b.target_ids), (a.target_mask, b.target_mask)]
    return all(torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y for x, y in pairs)


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(policy, workers):
    alone, together = (list(BatchLoader(stream_of(policy), policy, n)) for n in (0, workers))
    assert len(alone) == len(together) == 6
    assert all(same(a, b) for a, b in zip(alone, together, strict=True))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("start", [0, 1, 5])
def test_a_loader_that_starts_later_skips_what_was_before(policy, workers, start):
    whole = list(BatchLoader(stream_of(policy), policy, 0))
    loader = BatchLoader(stream_of(policy), policy, workers)
    loader.start = start
    assert len(loader) == 6  # the length stays that of the run
    rest = list(loader)
    assert [batch.index for batch in rest] == list(range(start, 6))
    assert all(same(a, b) for a, b in zip(whole[start:], rest, strict=True))


def test_every_epoch_shows_every_sample_once(policy):
    seen = [name for batch in BatchLoader(stream_of(policy, steps=7), policy, 0) for name in ids(batch)]
    assert sorted(seen[:N]) == sorted(seen[N:]) == [f"s{n}" for n in range(N)]
    assert seen[:N] != seen[N:]


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_share_one_global_order(policy, world_size):
    one = stream_of(policy, steps=6, batch_size=2 * world_size)
    ranks = [stream_of(policy, steps=6, rank=r, world_size=world_size) for r in range(world_size)]
    for index in range(6):
        whole = [example.sample.id for example in one.read(index).examples]
        parts = [[example.sample.id for example in rank.read(index).examples] for rank in ranks]
        assert [name for part in parts for name in part] == whole


def test_ranks_that_read_the_same_are_caught(policy):
    ranks = [stream_of(policy, rank=0, world_size=2) for _ in range(2)]
    whole = [e.sample.id for e in stream_of(policy, batch_size=4).read(0).examples]
    assert [e.sample.id for rank in ranks for e in rank.read(0).examples] != whole


def test_another_seed_is_another_order(policy):
    orders = [[ids(batch) for batch in BatchLoader(stream_of(policy, seed=seed), policy, 0)] for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_sample_that_cannot_be_decoded_becomes_a_fault(policy, workers):
    batches = list(BatchLoader(stream_of(policy, broken=("s2",)), policy, workers))
    faults = [(row.id, str(error)) for batch in batches for row, error in batch.faults]
    assert faults and set(faults) == {("s2", "s2.mp4: cut off")}
    assert not any("s2" in ids(batch) for batch in batches)
    assert all(len(batch.examples) + len(batch.faults) == 2 for batch in batches)
    assert all(len(batch.encoded.images) == len(batch.examples) for batch in batches)


def test_other_errors_are_not_faults(policy):
    stream = replace(stream_of(policy), prepare=lambda row: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        stream.read(0)


def test_a_batch_of_faults_only_is_empty(policy):
    everything = tuple(f"s{n}" for n in range(N))
    batch = next(iter(BatchLoader(stream_of(policy, broken=everything), policy, 0)))
    assert batch.encoded is None and batch.examples == () and len(batch.faults) == 2
    assert batch.target_ids is None and batch.target_mask is None


@pytest.mark.parametrize("objective", ["sft", "gspo"])
def test_training_goes_on_over_batches_without_a_readable_sample(policy, tmp_path, objective):
    session = Session(tmp_path, objective=objective, batches=4, save_every=9)
    stream = session.loader.stream
    first = [example.sample.id for example in stream.read(1).examples]

    def broken(row, right=stream.prepare):
        if row.id in first:
            raise MediaError(row.id, "cut off")
        return right(row)

    session.loader.stream = replace(stream, prepare=broken)
    session.fit()
    assert list(session.recorder.metrics) == [0, 1, 2, 3] and session.recorder.samples[1] == []
    assert set(session.recorder.metrics[1]) == {"lr"}
    assert "loss" in session.recorder.metrics[2] or objective == "gspo"


def test_targets_only_where_every_prompt_has_one(policy):
    stream = stream_of(policy)

    def without_some(row, right=stream.prepare):
        return replace(right(row), target=None) if row.id == "s3" else right(row)

    for batch in BatchLoader(replace(stream, prepare=without_some), policy, 0):
        assert (batch.target_ids is None) == ("s3" in ids(batch))


@pytest.mark.parametrize("workers", [0, 2])
def test_captions_are_batches_too(policy, workers):
    captions = tiny.captions(steps=3, batch=4)
    stream = CaptionStream(captions, 0, policy.family, captions.steps)
    batches = list(BatchLoader(stream, policy, workers))
    assert [len(batch.examples) for batch in batches] == [4, 4, 4]
    assert all(example.sample is None for batch in batches for example in batch.examples)
    expected = captions.prompts(0, 1, policy.family)
    assert policy.decode(batches[1].target_ids) == [prompt.target for prompt in expected]


def test_no_two_batches_of_a_run_share_a_number(policy):
    ranks = [stream_of(policy, rank=r, world_size=3) for r in range(3)]
    assert sorted(rank.number(index) for rank in ranks for index in range(4)) == list(range(12))
    assert [batch.number for batch in BatchLoader(ranks[1], policy, 0)] == [1, 4, 7, 10, 13, 16]
