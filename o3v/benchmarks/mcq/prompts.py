"""How multiple-choice questions are worded: the project's own form, and the parts of the released ones.

`own`: the system text and the question form of training (o3v/prompts/system.py), think and answer blocks. `reference`:
the released text in the user's turn and no system text (eval/dataloader/*.py), with or without thinking.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from o3v.benchmarks.mcq.letters import option_letters
from o3v.benchmarks.mcq.rows import ChoiceRow
from o3v.prompts.system import SYSTEM_TEXTS
from o3v.types import Task

FORMS: Final = ("own", "reference")
"""`prompt` of a benchmark."""

THINK: Final = (
    "You must first think about the reasoning process in the mind and then provide the user with the answer. "
    "The reasoning process and answer are enclosed within <think> </think> and <answer> </answer> tags, respectively. "
    "All reasoning must be grounded in visual evidence from the video. When you mention any related object, person, or "
    "specific visual element, you must strictly follow the following format: "
    "`<obj>object_name</obj><box>bounding_box</box>at<t>time_in_seconds</t>s`. "
    "The reasoning process MUST NOT be longer than 100 words."
)
"""The released instruction to think, as it stands."""

SELECT: Final = "Select the best answer to the multiple-choice question based on the video."
ONLY_LETTER: Final = "espond with only the letter (A, B, C, or D) of the correct option."

_SRT_TIME = re.compile(r"(\d{1,4}):(\d\d):(\d\d)[,.](\d{1,3})\s*-->")
_MARKUP = re.compile(r"<[^<>]*>|\{\\[^{}]*\}")


def lettered(options: Sequence[str]) -> tuple[str, ...]:
    """Options with their letters; those that all carry them already stay as they are.

    >>> lettered(["red", "blue"]), lettered(["A. red", "B. blue"])
    (('A. red', 'B. blue'), ('A. red', 'B. blue'))
    """
    letters = option_letters(len(options))
    if all(option.startswith(f"{letter}.") for letter, option in zip(letters, options, strict=True)):
        return tuple(options)
    return tuple(f"{letter}. {option}" for letter, option in zip(letters, options, strict=True))


def own_system(row: ChoiceRow) -> str:
    """The system text of training for this kind of question."""
    return SYSTEM_TEXTS[Task.GENERAL_FREE_FORM if row.kind == "open" else Task.GENERAL_MCQ]


def own_text(row: ChoiceRow, subtitles: str) -> str:
    """The user's text: subtitles where there are some, the question, the options a line each.

    Args:
        row: the question.
        subtitles: see `read_subtitles`; "" for none.
    """
    heard = f"Subtitles of the video:\n{subtitles}\n\n" if subtitles else ""
    return heard + "\n".join([row.question, *lettered(row.options)])


def read_subtitles(path: Path | None, max_chars: int) -> str:
    """Subtitles of an .srt file, a line each with its second; "" where there is no file.

    Args:
        path: the file; bytes that are not UTF-8 are replaced.
        max_chars: a longer text is thinned to every second line, every third one, ..., so that all of the video stays
            represented.
    """
    if path is None or not path.is_file():
        return ""
    lines = subtitle_lines(path.read_text(encoding="utf-8-sig", errors="replace"))
    step = 1
    while len("\n".join(lines[::step])) > max_chars and step < len(lines):
        step += 1
    return "\n".join(lines[::step])[:max_chars]


def subtitle_lines(text: str) -> list[str]:
    r"""The cues of an .srt text as "12s: words"; markup, numbers of cues and repetitions of the last cue are left out.

    >>> subtitle_lines("1\n00:01:02,500 --> 00:01:04,000\n<i>Hello</i>\nthere\n\n2\nbroken\n")
    ['62s: Hello there']
    """
    found: list[str] = []
    last = ""
    for block in re.split(r"\n\s*\n", text.replace("\r", "")):
        time = _SRT_TIME.search(block)
        if time is None:
            continue
        words = " ".join(_MARKUP.sub("", block[time.end() :].partition("\n")[2]).split())
        if words and words != last:
            hours, minutes, seconds = (int(part) for part in time.groups()[:3])
            found.append(f"{3600 * hours + 60 * minutes + seconds}s: {words}")
            last = words
    return found
