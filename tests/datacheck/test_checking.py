"""Every rule finds its own fault and no other; what is remembered is not looked at again; severities decide."""

from __future__ import annotations

import json
import os
from dataclasses import fields, replace
from pathlib import Path

import pytest

from o3v.datacheck import checking, row_reading
from o3v.datacheck.findings import KINDS, Severities
from o3v.datacheck.leaks import asked_videos
from o3v.datacheck.looking import read_rows
from o3v.datacheck.memory import Memory, rules_digest
from o3v.datacheck.pool import PoolSettings
from o3v.datacheck.row_text import read_row_texts
from o3v.datacheck.subjects import dataset_subject
from o3v.errors import ConfigError
from tests.datacheck.rows import FAULTY, GOOD, SPATIAL, TEMPORAL, VISUAL, changed, settings, write_world
from tests.datacheck.running import POOL, budget, kinds_of, quiet, run, severities
from tests.video.clips import even_times, write_clip

ELSEWHERE = {
    "broken_json": "test_row_text.py",
    "row_time_limit": "test_looking.py",
    "media_time_limit": "test_looking.py",
    "media_crash": "test_looking.py",
    "duration": "test_media_rules.py",
    "part_outside": "test_media_rules.py",
    "budget_frame": "test_tokens.py",
    "budget_frames": "test_tokens.py",
    "budget_prompt": "test_tokens.py",
}
"""Kinds whose example is not a row, and where they are tried."""


def asked(tmp_path: Path):
    """A benchmark that asks about a copy of one file, a name, and another part of one video."""
    folder = tmp_path / "benchmark"
    folder.mkdir(exist_ok=True)
    write_clip(folder / "another_name.mp4", even_times(48))
    paths = [folder / "another_name.mp4", folder / "asked_about.mp4", folder / "v_NUsG9BgSes0.mp4"]
    return asked_videos({"bench": paths})


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """One check of all rows: the good ones, then the faulty ones, one a kind."""
    root = tmp_path_factory.mktemp("world")
    file = write_world(root, [*GOOD, *FAULTY.values()])
    return run(root, file, asked=asked(tmp_path_factory.mktemp("asked")))


def test_good_rows_have_no_finding(world):
    found = kinds_of(world)
    assert [found.get(number) for number in range(1, len(GOOD) + 1)] == [None] * len(GOOD)


@pytest.mark.parametrize("kind", FAULTY)
def test_a_fault_is_found_as_what_it_is(world, kind):
    number = len(GOOD) + 1 + list(FAULTY).index(kind)
    assert kinds_of(world)[number] == [kind]


@pytest.mark.parametrize("kind", [name for name in FAULTY if name not in ("unreadable",)])
def test_a_rule_that_is_off_finds_nothing(tmp_path, kind, world):
    """With every kind off but one, only this kind's row is left: no rule hides behind another."""
    off = {field.name: "off" for field in fields(Severities)} | {kind: "error"}
    left = [finding for finding in world.findings if Severities(**off).of(finding.kind) != "off"]
    assert {finding.row for finding in left} == {len(GOOD) + 1 + list(FAULTY).index(kind)}


def test_every_kind_is_tried():
    assert set(FAULTY) | set(ELSEWHERE) == set(KINDS) == {field.name for field in fields(Severities)}
    for name in ELSEWHERE.values():
        assert (Path(__file__).parent / name).is_file()


def test_messages_name_row_key_value_and_what_is_allowed(world):
    messages = {finding.kind: finding.message for finding in world.findings}
    assert "'dancing'" in messages["unreadable"] and "allowed are" in messages["unreadable"]
    assert "videos/timerft/gone.mp4" in messages["media_missing"]
    assert messages["key_frame_outside"].startswith("key_frames: 3.5 s lies 1.50 s outside")
    assert "0 to 2.00 s" in messages["key_frame_outside"]
    assert "segment 0.5 to 2.6 s lies 0.60 s outside, the clip has 0 to 2.00 s" in messages["span_outside"]
    assert "[320, 192]" in messages["image_size"] and "[160, 96]" in messages["image_size"]
    assert "wanted a time of the key frames 0.5, 1.5" in messages["reasoning_time"]
    assert messages["duplicate_row"] == "row: the same as row 2, but for its id"


def test_the_second_check_looks_at_nothing(tmp_path):
    file = write_world(tmp_path, GOOD)
    memory = Memory(tmp_path / "memory.sqlite")
    first, second = run(tmp_path, file, memory), run(tmp_path, file, memory)
    assert (first.rows_counts.looked, first.media_counts.looked) == (4, 4)
    assert (second.rows_counts.looked, second.rows_counts.known) == (0, 4)
    assert (second.media_counts.looked, second.media_counts.known) == (0, 4)
    assert second.rows == first.rows and second.findings == first.findings and second.tokens == first.tokens


def test_what_has_changed_is_looked_at_again(tmp_path):
    file = write_world(tmp_path, GOOD)
    memory = Memory(tmp_path / "memory.sqlite")
    run(tmp_path, file, memory)
    file.write_text(json.dumps([changed(SPATIAL, answer="A dog."), TEMPORAL, VISUAL, GOOD[3]]))
    clip = tmp_path / "videos" / "timerft" / "clip.mp4"
    clip.write_bytes(clip.read_bytes()[:300])
    image = tmp_path / "videos" / "gqa" / "image.jpg"
    os.utime(image, ns=(1, 1))
    again = run(tmp_path, file, memory)
    assert (again.rows_counts.looked, again.media_counts.looked) == (1, 2)
    assert kinds_of(again) == {2: ["media_unreadable"]}


def test_other_limits_look_at_rows_again(tmp_path):
    file, memory = write_world(tmp_path, [SPATIAL]), Memory(tmp_path / "memory.sqlite")
    assert run(tmp_path, file, memory).findings == []
    strict = row_reading.Limits(0.1, 0.02, 0.01, 1.0, 0.5, 1.0)
    found = read_rows(
        read_row_texts(file), replace(settings(tmp_path), limits=strict), POOL, memory, rules_digest(), quiet
    )
    assert {fact.kind for fact in found[0][0].facts} == {"box_large"}
    assert found[1].looked == 1


def test_a_memory_that_is_damaged_is_set_aside(tmp_path):
    path = tmp_path / "memory.sqlite"
    path.write_bytes(b"no data base" * 500)
    memory = Memory(path)
    memory.keep("rows", {"a": 1})
    assert memory.find("rows", ["a", "b"]) == {"a": 1}
    assert path.with_name("memory.sqlite.broken").is_file()


def test_a_wrong_severity_is_refused():
    with pytest.raises(ConfigError, match=r"severity\.letter='loud'.*error, warning and off"):
        severities(letter="loud")


def test_wrong_settings_are_refused():
    for pool in (PoolSettings(0, 1.0, 1.0), PoolSettings(1, 0.0, 1.0), PoolSettings(1, 1.0, 0.0)):
        with pytest.raises(ConfigError, match="must be"):
            checking.CheckSettings(severities(), row_reading.Limits(1, 1, 1, 1, 1, 1), pool, True, "ends")


def test_an_unknown_data_set_is_refused():
    with pytest.raises(ConfigError, match="cannot be checked; allowed are StgrDataset"):
        dataset_subject(object(), row_reading.Limits(1, 1, 1, 1, 1, 1), None)


def test_ids_are_those_of_training(tmp_path):
    rows = [TEMPORAL, TEMPORAL | {"answer": "[0, 1]"}, {k: v for k, v in GOOD[3].items() if k != "id"}]
    outcome = run(tmp_path, write_world(tmp_path, rows))
    from o3v.data.stgr import read_stgr

    trained = read_stgr(tmp_path / "json_data" / "STGR-RL.json", tmp_path)
    assert [row.id for row in outcome.rows] == [sample.id for sample in trained.samples]


def test_what_the_check_calls_usable_training_reads(tmp_path):
    """Rows without errors are samples, and samples that cannot be used have errors."""
    from o3v.data.stgr import read_stgr

    file = write_world(tmp_path, [*GOOD, *FAULTY.values()])
    outcome = run(tmp_path, file, tokens=budget())
    trained = {sample.id for sample in read_stgr(file, tmp_path).samples}
    with_errors = {finding.id for finding in outcome.findings if finding.severity == "error"}
    assert {row.id for row in outcome.rows} - with_errors <= trained
    assert POOL.workers == 2
