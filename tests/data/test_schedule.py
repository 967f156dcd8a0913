"""Sizes of batches over changes of the number of processes."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from o3v.data.schedule import Schedule


@given(size=st.integers(1, 64), batches=st.integers(1, 500), batch=st.integers(0, 500))
def test_an_even_schedule_counts_batches(size, batches, batch):
    schedule = Schedule.even(size, batches)
    assert schedule.batches == batches
    assert schedule.samples_before(batch) == batch * size
    assert schedule.progress(min(batch, batches)) == min(batch, batches) / batches
    assert schedule.continued(batch, size) is schedule


@given(
    size=st.integers(1, 32),
    batches=st.integers(20, 200),
    changes=st.lists(st.tuples(st.integers(0, 9), st.integers(1, 32)), max_size=4),
)
def test_progress_goes_on_where_it_was_and_the_run_keeps_its_samples(size, batches, changes):
    schedule, batch = Schedule.even(size, batches), 0
    for count, new in changes:
        batch += count
        before = schedule.progress(batch), schedule.samples_before(batch)
        schedule = schedule.continued(batch, new)
        assert (schedule.progress(batch), schedule.samples_before(batch)) == before
    assert schedule == Schedule.from_state(json.loads(json.dumps(schedule.state())))
    if schedule.samples_before(batch) < schedule.total_samples:
        left = schedule.total_samples - schedule.samples_before(schedule.batches)
        assert abs(left) <= schedule.batch_size / 2
    steps = [schedule.progress(b) for b in range(batch + 30)]
    assert steps == sorted(steps) and steps[-1] <= 1


def test_a_change_at_the_very_beginning_replaces_the_size():
    assert Schedule.even(4, 10).continued(0, 8).segments == ((0, 8),)
