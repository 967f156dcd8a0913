"""How many tokens a row takes: text by the model's tokenizer or an estimate, vision by the resize plan."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from o3v.datacheck.facts import MediaFacts, RowFacts
from o3v.datacheck.findings import Fact
from o3v.video.geometry import ResizePlan
from o3v.video.reader import ClipReader

TURN_TOKENS: Final = 15
"""Of the chat's marks: three turns of a system, a user and an assistant."""

LABEL: Final = "\nFrame 10 at 10.0s: "
"""A frame's label, with the time of an average one."""

FRAME_MARKS: Final = 2
"""Start and end of a picture."""

_PIECES = re.compile(r"[0-9]|[^\W\d_]+|[^\w\s]+|_+")
_LETTERS_A_TOKEN: Final = 6


def estimated_tokens(text: str) -> int:
    """Tokens of a text without a tokenizer: every digit one, a word one for each six letters, a run of signs one.

    >>> estimated_tokens("When does the bowling ball hit at 10.14 s?")
    15
    """
    return sum(-(-len(piece) // _LETTERS_A_TOKEN) if piece[0].isalpha() else 1 for piece in _PIECES.findall(text))


def count_tokens(text: str, tokenizer: str | None) -> int:
    """Tokens of a text by a tokenizer.json, or estimated where there is none."""
    if tokenizer is None:
        return estimated_tokens(text)
    return len(_tokenizer(tokenizer).encode(text, add_special_tokens=False).ids)


def find_tokenizer(folders: Sequence[Path]) -> str | None:
    """The first tokenizer.json in some folders; None where none has one."""
    return next((str(path) for path in (folder / "tokenizer.json" for folder in folders) if path.is_file()), None)


@cache
def _tokenizer(path: str) -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(path)


@dataclass(frozen=True)
class Budget:
    """What a prompt may take.

    Attributes:
        reader: sampling, sizes and the budget of vision tokens, as training uses them.
        factor: pixels of a vision token's side.
        tokenizer: tokenizer.json by which text is counted; None where it is estimated.
        max_answer_tokens: of a completion.
        max_prompt_tokens: of vision and text together; None where nothing limits it.
    """

    reader: ClipReader
    factor: int
    tokenizer: str | None
    max_answer_tokens: int
    max_prompt_tokens: int | None


@dataclass(frozen=True)
class RowTokens:
    """Tokens of one row.

    Attributes:
        frames: that are shown.
        frame: vision tokens of one.
        vision: of all frames that are shown.
        dropped: frames that the budget drops.
        text: system, question and labels.
        answer: text to learn.
    """

    frames: int
    frame: int
    vision: int
    dropped: int
    text: int
    answer: int

    @property
    def prompt(self) -> int:
        """Vision and text."""
        return self.vision + self.text


def row_tokens(row: RowFacts, media: MediaFacts, budget: Budget) -> RowTokens:
    """Tokens of a row whose media can be read.

    A key frame counts as a frame of its own, also where the even spread shows it too: so this is the most that the row
    can take.
    """
    reader = budget.reader
    limit = reader.image_max_pixels if row.is_image else reader.max_pixels
    plan = ResizePlan(budget.factor, reader.min_pixels, limit)
    frame = plan.tokens(*plan.smart_resize(media.height, media.width))
    wanted = 1 if row.is_image else _wanted_frames(row, media, reader)
    fit = wanted if row.is_image else min(wanted, reader.max_total_tokens // frame)
    label = 0 if row.is_image else _label_tokens(budget.tokenizer)
    text = row.prompt_tokens + TURN_TOKENS + fit * (label + FRAME_MARKS)
    return RowTokens(fit, frame, fit * frame, wanted - fit, text, row.answer_tokens)


@cache
def _label_tokens(tokenizer: str | None) -> int:
    return count_tokens(LABEL, tokenizer)


def _wanted_frames(row: RowFacts, media: MediaFacts, reader: ClipReader) -> int:
    spread = min(reader.sampling.n_frames(media.end_s - media.first_s), media.n_frames)
    keys = len(set(row.key_times_s)) if reader.sampling.insert_key_frames else 0
    return min(spread + keys, media.n_frames)


def token_facts(tokens: RowTokens, is_image: bool, budget: Budget) -> list[Fact]:
    """What is too long."""
    found = []
    most = budget.reader.max_total_tokens
    if tokens.frame > most and not is_image:
        found.append(
            Fact("budget_frame", f"one frame takes {tokens.frame} vision tokens, allowed are {most} (max_total_tokens)")
        )
    elif tokens.dropped:
        wanted = (tokens.frames + tokens.dropped) * tokens.frame
        shown = f"{tokens.frames} of {tokens.frames + tokens.dropped} frames are shown"
        found.append(Fact("budget_frames", f"{wanted} vision tokens, allowed are {most} (max_total_tokens): {shown}"))
    prompt = budget.max_prompt_tokens
    if prompt is not None and tokens.prompt > prompt:
        found.append(
            Fact("budget_prompt", f"the prompt takes {tokens.prompt} tokens, allowed are {prompt} (max_prompt_tokens)")
        )
    return found


def answer_facts(row: RowFacts, budget: Budget) -> list[Fact]:
    """A text to learn that no completion could hold."""
    if row.answer_tokens <= budget.max_answer_tokens:
        return []
    message = f"reasoning and answer take {row.answer_tokens} tokens, allowed are {budget.max_answer_tokens}"
    return [Fact("budget_answer", f"{message} (data.max_new_tokens)")]
