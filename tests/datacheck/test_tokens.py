"""Tokens: those of the frames that training shows, and what is too long."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from o3v.datacheck.facts import MediaFacts, unknown_row
from o3v.datacheck.findings import Fact
from o3v.datacheck.tokens import answer_facts, count_tokens, estimated_tokens, find_tokenizer, row_tokens, token_facts
from o3v.models.load import ASSETS
from tests.datacheck.running import budget
from tests.video.clips import even_times, write_clip

FILM = MediaFacts(None, "", first_s=0.0, end_s=22.0, n_frames=491, width=640, height=360)
ROW = replace(unknown_row(Fact("unreadable", "")), facts=(), prompt_tokens=50, answer_tokens=100)


def test_frames_of_the_paper():
    """16 frames of 640x360 at 100,352 pixels: 8 x 15 tokens each (arXiv:2510.20579, 4.1)."""
    tokens = row_tokens(ROW, FILM, budget())
    assert (tokens.frames, tokens.frame, tokens.vision, tokens.dropped) == (16, 120, 1920, 0)
    assert row_tokens(replace(ROW, key_times_s=(1.0, 2.0, 2.0)), FILM, budget()).frames == 18


def test_they_are_those_of_the_reader(tmp_path):
    """The reader's own clip holds as many frames of that size."""
    path = write_clip(tmp_path / "clip.mp4", even_times(200), size_px=(320, 180))
    known = budget()
    clip = known.reader.read_video(path, (0.98, 3.3), known.factor, None)
    media = MediaFacts(None, "", 0.0, 8.0, 200, 320, 180)
    tokens = row_tokens(replace(ROW, key_times_s=(0.98, 3.3)), media, known)
    height, width = np.asarray(clip.frames.shape[1:3]) // known.factor
    assert (tokens.frames, tokens.frame) == (len(clip.frames), height * width)


def test_images():
    tokens = row_tokens(replace(ROW, is_image=True), replace(FILM, n_frames=1), budget())
    assert (tokens.frames, tokens.frame, tokens.text) == (1, 21 * 12, 50 + 15 + 2)
    assert tokens.frame * 28 * 28 <= 200704


@pytest.mark.parametrize(
    ("limit", "expected"),
    [(1920, []), (1919, ["budget_frames"]), (120, ["budget_frames"]), (119, ["budget_frame"])],
)
def test_the_budget_of_vision_tokens(limit, expected):
    known = budget(max_total_tokens=limit)
    tokens = row_tokens(ROW, FILM, known)
    assert [fact.kind for fact in token_facts(tokens, False, known)] == expected
    assert tokens.vision <= limit


def test_the_limit_of_a_prompt():
    known = replace(budget(), max_prompt_tokens=1000)
    tokens = row_tokens(ROW, FILM, known)
    assert [fact.kind for fact in token_facts(tokens, False, known)] == ["budget_prompt"]
    assert token_facts(tokens, False, replace(known, max_prompt_tokens=tokens.prompt)) == []


def test_the_limit_of_an_answer():
    assert answer_facts(replace(ROW, answer_tokens=768), budget()) == []
    assert [fact.kind for fact in answer_facts(replace(ROW, answer_tokens=769), budget())] == ["budget_answer"]


def test_text_is_counted_by_a_tokenizer_where_there_is_one(tmp_path):
    path = find_tokenizer([tmp_path, Path(ASSETS / "tiny_qwen2_5_vl")])
    assert path is not None and path.endswith("tokenizer.json")
    assert find_tokenizer([tmp_path]) is None
    text = "<think>It is seen from 1.0 to 3.0.</think>"
    assert 5 < count_tokens(text, path) < 40
    assert count_tokens(text, None) == estimated_tokens(text)
