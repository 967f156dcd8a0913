"""Times and sizes of a row held against its media, or against what was published where no file is looked at."""

from __future__ import annotations

from dataclasses import replace

import pytest

from o3v.datacheck.facts import MediaFacts, unknown_row, unusable
from o3v.datacheck.findings import Fact
from o3v.datacheck.media_rules import clip_end_s, media_facts
from tests.datacheck.rows import LIMITS

FILM = MediaFacts(None, "", first_s=0.5, end_s=20.0, n_frames=100, width=160, height=96)
ROW = replace(unknown_row(Fact("unreadable", "")), facts=(), media="clip.mp4")


def kinds(media=FILM, **values):
    return [fact.kind for fact in media_facts(replace(ROW, **values), media, LIMITS)]


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        ((0.0, 20.0), []),
        ((0.0, 20.4), ["span_edge"]),
        ((0.0, 20.6), ["span_outside"]),
        ((-0.4, 3.0), ["span_edge"]),
        ((-0.6, 3.0), ["span_outside"]),
        ((3.0, 3.0), ["span_empty"]),
        ((4.0, 3.0), ["span_empty"]),
        ((21.0, 21.0), ["span_empty", "span_outside"]),
    ],
)
def test_spans(span, expected):
    assert kinds(span_s=span) == expected
    assert kinds(media=None, span_s=span, duration_s=20.0) == expected


def test_without_a_file_and_without_a_length_a_span_is_only_empty_or_not():
    assert kinds(media=None, span_s=(5.0, 500.0)) == []
    assert kinds(media=None, span_s=(5.0, 5.0)) == ["span_empty"]


@pytest.mark.parametrize(
    ("time_s", "expected"),
    [
        (0.5, []),
        (20.0, []),
        (0.0, ["key_frame_edge"]),
        (20.9, ["key_frame_edge"]),
        (21.1, ["key_frame_outside"]),
    ],
)
def test_key_frames(time_s, expected):
    assert kinds(key_times_s=(5.0, time_s)) == expected


def test_parts():
    part = {"part_s": (5.0, 15.0), "duration_s": 10.0}
    assert kinds(span_s=(0.0, 10.0), **part) == []
    assert kinds(span_s=(0.0, 12.0), **part) == ["span_outside"]
    assert kinds(part_s=(5.0, 20.9)) == []
    assert kinds(part_s=(5.0, 21.1)) == ["part_outside"]
    assert kinds(part_s=(5.0, 5.0)) == ["part_outside"]
    assert clip_end_s(replace(ROW, part_s=(5.0, 15.0)), FILM) == 10.0
    assert clip_end_s(replace(ROW, part_s=(5.0, 30.0)), FILM) == 15.0


def test_published_lengths():
    assert kinds(duration_s=20.9) == []
    assert kinds(duration_s=21.1) == ["duration"]
    assert kinds(duration_s=18.9) == ["duration"]


def test_images():
    picture = replace(FILM, first_s=0.0, end_s=0.0, n_frames=1)
    assert kinds(picture, is_image=True, image_size_px=(160.0, 96.0)) == []
    assert kinds(picture, is_image=True, image_size_px=(96.0, 160.0)) == ["image_size"]


def test_media_that_cannot_be_used_are_one_finding():
    assert kinds(unusable("media_crash", "it crashed"), span_s=(0.0, 99.0), key_times_s=(99.0,)) == ["media_crash"]
