"""Wording: options with letters once, subtitles read from any text, long ones thinned over the whole video."""

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from o3v.benchmarks.mcq import prompts
from o3v.benchmarks.mcq.rows import ChoiceRow
from o3v.prompts.system import SYSTEM_TEXTS
from o3v.types import Task

SRT = "".join(f"{n}\n00:{n:02d}:00,000 --> 00:{n:02d}:02,000\nline {n} \n\n" for n in range(1, 50))


def row(kind, options=("x", "y")) -> ChoiceRow:
    return ChoiceRow("1", "v", Path("v.mp4"), "Which?", options, "A", kind, {})


def test_the_own_form_is_that_of_training() -> None:
    assert prompts.own_text(row("choice"), "") == "Which?\nA. x\nB. y"
    assert prompts.own_text(row("open", ()), "1s: hi") == "Subtitles of the video:\n1s: hi\n\nWhich?"
    assert prompts.own_system(row("choice")) == SYSTEM_TEXTS[Task.GENERAL_MCQ]
    assert prompts.own_system(row("open", ())) == SYSTEM_TEXTS[Task.GENERAL_FREE_FORM]


def test_options_are_lettered_unless_all_are() -> None:
    assert prompts.lettered(["A. x", "y"]) == ("A. A. x", "B. y")


def test_subtitles_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "v.srt"
    path.write_bytes(b"\xef\xbb\xbf1\r\n01:00:01,5 --> 01:00:02,0\r\n{\\an8}<b>caf\xe9</b>\r\n")
    assert prompts.read_subtitles(path, 100) == "3601s: caf\ufffd"
    assert prompts.read_subtitles(tmp_path / "none.srt", 100) == prompts.read_subtitles(None, 100) == ""


@pytest.mark.parametrize("budget", [1, 20, 100, 300])
def test_long_subtitles_are_thinned_over_the_whole_video(tmp_path: Path, budget: int) -> None:
    path = tmp_path / "v.srt"
    path.write_text(SRT)
    text = prompts.read_subtitles(path, budget)
    assert 0 < len(text) <= budget
    if budget >= 100:
        times = [int(line.split("s:")[0]) for line in text.splitlines()]
        assert times[-1] > 40 * 60
        assert len({later - earlier for earlier, later in pairwise(times)}) == 1


def test_repeated_cues_count_once() -> None:
    assert prompts.subtitle_lines("00:00:01,0 --> x\nhi\n\n00:00:02,0 --> x\nhi\n\n00:00:03,0 --> x\n\n") == ["1s: hi"]


@given(st.text() | st.lists(st.sampled_from(["0", "00:00:01,0", " --> ", "\n", "<", "{\\", "x"])).map("".join))
def test_any_text_is_read(text: str) -> None:
    assert all(line for line in prompts.subtitle_lines(text))
