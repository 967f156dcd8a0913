"""The table of a mix, and counts over all processes that a restart does not lose."""

from __future__ import annotations

from collections import Counter

import pytest

from o3v.data.mix_report import MixCount, metric_name, mix_rows, mix_text
from o3v.data.order import Grouping
from o3v.data.schedule import Schedule
from o3v.data.stream import BatchLoader, CaptionStream, SampleStream
from tests.data.test_mix import DATA, mix_of

WEIGHTS = {"source": {"gqa": 2, "timerft": 0.5, "TVG_tacos": 0}}


class NoPolicy:
    """Loaders that are never iterated need no more."""

    processor = family = None


def loader_of(rank=0, world_size=1, start=0, size=4):
    batches = Grouping(False, 0).batches(mix_of(WEIGHTS).order(DATA, 0), None, Schedule.even(size, 50))
    loader = BatchLoader(SampleStream(DATA, batches, None, rank, world_size), NoPolicy, 0)
    if start:
        loader.go_on(loader.stream.state(), start)
    return loader


def test_the_table_says_what_an_epoch_draws():
    rows = mix_rows(mix_of(WEIGHTS).order(DATA, 0))
    found = {row["source"]: (row["rows"], row["drawn"], row["epochs"]) for row in rows}
    assert found == {"gqa": (10, 20, 2.0), "timerft": (6, 3, 0.5), "TVG_tacos": (4, 0, 0.0), "total": (20, 23, 23 / 20)}
    assert sum(row["share"] for row in rows[:-1]) == pytest.approx(1) and rows[-1]["share"] == 1
    lines = mix_text(rows).splitlines()
    assert len(lines) == 5 and len({len(line) for line in lines}) == 1
    assert lines[2].split() == ["gqa", "visual", "QA", "unknown", "text", "10", "20", "87.0%", "2.00"]


def test_counts_are_those_of_all_processes_and_grow():
    counts = [MixCount(loader_of(rank, 2)) for rank in (0, 1)]
    for index in range(12):
        first, second = (count.metrics(index) for count in counts)
        assert first == second
        assert first["data/gqa"] + first["data/timerft"] == 4 * (index + 1)
        assert first["data/task/visual_qa"] == first["data/gqa"]
        assert first["data_share/gqa"] == first["data/gqa"] / (4 * (index + 1))
    assert first["data_off"] == pytest.approx(abs(first["data_share/gqa"] - 20 / 23))
    assert MixCount(loader_of()).metrics(22)["data_off"] == pytest.approx(0)  # 4 whole epochs


@pytest.mark.parametrize("start", [1, 7, 30])
def test_a_run_that_goes_on_counts_from_its_beginning(start):
    whole, later = MixCount(loader_of()), MixCount(loader_of(start=start))
    walked = [whole.metrics(index) for index in range(start + 3)]
    assert [later.metrics(index) for index in range(start, start + 3)] == walked[start:]


def test_counts_of_what_was_drawn():
    stream = loader_of().stream
    drawn = Counter(DATA[n].source for i in range(9) for n in stream.batches.batch(i))
    found = MixCount(loader_of()).metrics(8)
    assert {name: found[f"data/{name}"] for name in drawn} == drawn


def test_batches_without_samples_have_no_counts():
    loader = BatchLoader(CaptionStream(None, 0, None, 3), NoPolicy, 0)
    assert MixCount(loader).metrics(0) == {}


def test_names_are_such_as_trackers_take():
    assert metric_name("STR_plm-1.0 a") == "STR_plm-1.0 a" and metric_name("a/b:c(é)") == "a_b_c___"
