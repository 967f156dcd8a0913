"""Faults are counted once, listed in a file, and stop the run above the share."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from o3v.data.faults import Fault, FaultLog, check_share
from o3v.errors import DataError, StorageError


def fault(number: int, source: str = "gqa", where: str = "decode") -> Fault:
    return Fault(f"s{number}", source, where, f"reason {number}")


def test_faults_are_counted_by_kind_and_source_and_listed_once(tmp_path: Path):
    log = FaultLog(tmp_path / "run" / "faults.jsonl", max_share=0.5, n_samples=10)
    for one in (fault(1), fault(2), fault(1), fault(3, "timerft", "missing media")):
        log.record(one)
    assert log.counts == {"decode/gqa": 2, "missing media/timerft": 1}
    assert log.share == 0.3
    lines = [json.loads(line) for line in log.path.read_text().splitlines()]
    assert [line["sample_id"] for line in lines] == ["s1", "s2", "s3"]
    assert lines[2] == {"sample_id": "s3", "source": "timerft", "where": "missing media", "reason": "reason 3"}


def test_above_the_share_the_run_stops_with_counts_and_place(tmp_path: Path):
    log = FaultLog(tmp_path / "faults.jsonl", max_share=0.2, n_samples=10)
    log.record(fault(1))
    log.record(fault(2))
    with pytest.raises(DataError) as caught:
        log.record(fault(3, "timerft"))
    message = str(caught.value)
    assert str(log.path) in message
    assert "3 of 10 samples are faulty" in message
    assert "decode/gqa 2, decode/timerft 1" in message
    assert "s3 (timerft, decode): reason 3" in message
    assert len(log.path.read_text().splitlines()) == 3


def test_a_share_of_zero_stops_at_once_and_one_never(tmp_path: Path):
    with pytest.raises(DataError):
        FaultLog(tmp_path / "a.jsonl", 0.0, 1000).record(fault(1))
    log = FaultLog(tmp_path / "b.jsonl", 1.0, 2)
    log.record(fault(1))
    log.record(fault(2))
    check_share((), 0, 0.0, "nowhere")


def test_lines_of_an_earlier_start_stay(tmp_path: Path):
    for number in (1, 2):
        FaultLog(tmp_path / "a.jsonl", 1.0, 9).record(fault(number))
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 2


def test_an_unwritable_place_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="list of faults cannot be written"):
        FaultLog(tmp_path / "file" / "a.jsonl", 1.0, 9).record(fault(1))
