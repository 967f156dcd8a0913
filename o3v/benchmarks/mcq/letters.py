"""The option letter that an answer names: any text in, a letter or None out, never an exception.

Two definitions. `corrected`: only the answer block counts (after the thinking; the whole text where there is neither);
a letter that is clearly named is read; otherwise what the released parser reads, which is None where it finds nothing.
`reference`: the three released parsers (eval/dataloader/{videomme,worldsense,videommmu}.py), texts for failures
included, as `released_letter`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from typing import Final, Literal

from o3v.errors import ConfigError

Parser = Literal["videomme", "worldsense", "videommmu"]
PARSERS: Final[tuple[Parser, ...]] = ("videomme", "worldsense", "videommmu")

API_ERROR: Final = "API Error"
"""What the released parsers make of an empty answer (and of this text itself)."""

NO_ANSWER: Final = "No Answer Found"
"""What they make of a text without a letter; WorldSense's takes a random letter instead, with a fixed seed."""

_STRIPPED = (",", ".", "!", "?", ";", ":", "'")
_CONTENT_WORDS = 5  # option texts are looked for only in answers of more words
_WORLDSENSE_SEED = 42

_ALL_FORMS = ("{}.", "{}:", "({})", "{} ", ":{}", ": {}", "\n\n{}", "{{{}}}", " {}\n", "\n{}\n", "**{}**")
"""Where Video-MME's and WorldSense's parsers see a letter; the last one in the text wins."""

_OPEN, _CLOSE = "<answer>", "</answer>"
_ALONE = re.compile(r"[^\w\\]*+([A-J])[^\w]*+\Z")
_CUE = re.compile(r"(?:(?i:answer|correct option)\s*+:|(?i:answer is|so option|pick))\s*+\(?([A-J])(?![\w'])")


def option_letters(count: int) -> tuple[str, ...]:
    """The letters of `count` options; the letter of option 0 is A.

    >>> option_letters(3)
    ('A', 'B', 'C')
    """
    return tuple(chr(ord("A") + index) for index in range(count))


def answer_text(text: str) -> str:
    """The part of an answer that is scored.

    The last answer block behind the thinking; without one there the last block of the text, as a reasoning that is
    never closed may hold it; without any block what follows the thinking, or all of a text that has no think tag.
    A reasoning that is never closed and holds no block has no answer.

    Example:
        >>> answer_text("<think>A or B</think> so <answer>B</answer>"), answer_text("<think>A"), answer_text("A.")
        ('B', '', 'A.')
    """
    before, _, behind = text.rpartition("</think>")
    blocks = _blocks(behind) or _blocks(before)
    if blocks:
        return blocks[-1]
    return "" if "<think>" in behind else behind


def clear_letter(text: str) -> str | None:
    """The letter A to J that a text names beyond doubt: alone but for signs, or said to be the answer.

    Said: "answer: B", "Correct Option: B", "the answer is (B)", "so option B", "I pick B". Two different ones are no
    clear letter. A letter that the question does not offer is read too: it is a wrong answer, not an unreadable one.

    Example:
        >>> clear_letter("**C**"), clear_letter('"C"'), clear_letter("A man. The answer is B."), clear_letter("A or B")
        ('C', 'C', 'B', None)
    """
    alone = _ALONE.match(text)
    if alone:
        return alone[1]
    said = {match[1] for match in _CUE.finditer(text)}
    return said.pop() if len(said) == 1 else None


def read_letter(text: str, options: Sequence[str], parser: Parser) -> str | None:
    """The letter of an answer under the corrected definition.

    Args:
        text: what the model wrote.
        options: texts of the options, in order.
        parser: whose patterns stand in where no letter is clear (WorldSense: Video-MME's, the same with option texts).

    Returns:
        A letter; None where there is none to read.

    Differs from the reference: letters in an answer block, in quotes or before a bracket are read (defect B2),
    reasoning is not (B2, B4), no letter is made up (B3).

    Example:
        >>> options = ["red", "blue", "green", "none"]
        >>> read_letter("<think>A?</think><answer>C) green</answer>", options, "videomme")
        >>> read_letter('<answer>"C"</answer>', options, "worldsense"), read_letter("no idea", options, "worldsense")
        ('C', None)
    """
    answer = answer_text(text)
    clear = clear_letter(answer)
    if clear is not None:
        return clear
    found = _found(answer, options, "videomme" if parser == "worldsense" else parser)
    return None if found in (API_ERROR, NO_ANSWER) else found


def released_letter(text: str, options: Sequence[str], parser: Parser) -> str:
    """What a released parser makes of a text, to the letter.

    Video-MME: the last place of the text where a letter stands in one of the forms "B.", "B:", "(B)", "B ", ":B",
    ": B", "{B}", "**B**", on a line's end or at a paragraph's start; without one, the last option whose text occurs in
    an answer of more than five words. VideoMMMU: the first kind of form that occurs of "B." and "B:", "(B)", "B ",
    then the option's text; of several letters the last. WorldSense: as Video-MME but without option texts, and a
    letter drawn with seed 42 (of four options always A) where nothing is found.

    Args:
        text: what the model wrote.
        options: texts of the options, in order.
        parser: whose.

    Returns:
        A letter, `API_ERROR` or `NO_ANSWER`.

    Example:
        >>> [released_letter("Note:Because", ["x"] * 4, parser) for parser in PARSERS]
        ['B', 'B', 'No Answer Found']
    """
    found = _found(text, options, parser)
    if found == NO_ANSWER and parser == "worldsense" and options:
        return random.Random(_WORLDSENSE_SEED).choice(option_letters(len(options)))
    return found


def released_path(text: str, options: Sequence[str], parser: Parser, think: bool, allowed: Sequence[str]) -> str | None:
    """The letter that the released runners read from one path; None where they say "NA".

    With thinking, the first answer block must hold an allowed letter and nothing else; without, the parser's letter
    must be allowed (eval/test/test_videomme.py and copies).

    Args:
        text: what the model wrote.
        options: texts of the options.
        parser: whose parser reads answers without thinking.
        think: whether the prompt asked for think and answer blocks.
        allowed: letters that count: A to D, for VideoMMMU A to J.

    Example:
        >>> [released_path(f"<answer>{x}</answer>", [], "videomme", True, "ABCD") for x in (" C ", "C.", "E")]
        ['C', None, None]
    """
    letter = "".join(_blocks(text)[:1]).strip() if think else released_letter(text, options, parser)
    return letter if letter in tuple(allowed) else None


def released_vote(text: str, options: Sequence[str], parser: Parser, think: bool, allowed: Sequence[str]) -> str:
    """What the released runners hand to the scoring for a question with one path; arguments as `released_path`.

    Without a letter, and with thinking also without a closed think block, the first allowed letter (defect X2).

    Example:
        >>> released_vote("<think>x</think><answer>C.</answer>", [], "videomme", True, "ABCD")
        'A'
    """
    letter = released_path(text, options, parser, think, allowed)
    thought = not think or "</think>" in text.partition("<think>")[2]
    return letter if letter is not None and thought else allowed[0]


def check_parser(parser: str) -> None:
    """Raises ConfigError for an unknown parser."""
    if parser not in PARSERS:
        raise ConfigError(f"parser={parser!r}: allowed are {list(PARSERS)}")


def _blocks(text: str) -> list[str]:
    """Contents of the answer blocks in order."""
    found = []
    start = text.find(_OPEN)
    while start >= 0:
        end = text.find(_CLOSE, start)
        if end < 0:
            break
        found.append(text[start + len(_OPEN) : end])
        start = text.find(_OPEN, end)
    return found


def _found(text: str, options: Sequence[str], parser: Parser) -> str:
    check_parser(parser)
    if text in ("", API_ERROR):
        return API_ERROR
    letters = option_letters(len(options))
    for sign in _STRIPPED:
        text = text.strip(sign)
    text = f" {text} "
    content = dict(zip(letters, options, strict=True))
    if parser == "videommmu":
        return _first_form(text, letters) or _last_content(text, content) or NO_ANSWER
    found = _last_form(text, letters)
    if found is None and parser == "videomme":
        found = _last_content(text, content)
    return found or NO_ANSWER


def _last_form(text: str, letters: Sequence[str]) -> str | None:
    places = [(text.rfind(form.format(letter)), letter) for form in _ALL_FORMS for letter in letters]
    place, letter = max(places, key=lambda pair: pair[0], default=(-1, ""))
    return letter if place >= 0 else None


def _first_form(text: str, letters: Sequence[str]) -> str | None:
    """VideoMMMU's order of forms. Of several letters the one standing last in the first form that any of them has."""
    stop = [letter for letter in letters if f"{letter}." in text]
    colon = [letter for letter in letters if f"{letter}:" in text]
    if stop or colon:
        return _last(text, [*stop, *colon], "{}." if stop else "{}:")
    bracket = [letter for letter in letters if f"({letter})" in text]
    if bracket:
        return _last(text, bracket, "({})")
    return _last(text, [letter for letter in letters if f"{letter} " in text], " {} ")


def _last(text: str, letters: Sequence[str], form: str) -> str | None:
    return max(letters, key=lambda letter: text.rfind(form.format(letter)), default=None)


def _last_content(text: str, content: Mapping[str, str]) -> str | None:
    """Letter of the option whose text occurs last; None in short answers."""
    lowered = text.lower()
    if len(text.split()) <= _CONTENT_WORDS:
        return None
    there = [letter for letter, option in content.items() if option.lower() in lowered]
    return max(there, key=lambda letter: lowered.rfind(content[letter].lower()), default=None)
