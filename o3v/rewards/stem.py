"""English word stems: Porter's algorithm with the extensions of NLTK, which ROUGE's usual implementation compares.

Written anew because importing NLTK takes longer than scoring thousands of completions; a test compares both.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

IRREGULAR: Final[Mapping[str, str]] = {
    "skies": "sky",
    "sky": "sky",
    "dying": "die",
    "lying": "lie",
    "tying": "tie",
    "news": "news",
    "innings": "inning",
    "inning": "inning",
    "outings": "outing",
    "outing": "outing",
    "cannings": "canning",
    "canning": "canning",
    "howe": "howe",
    "proceed": "proceed",
    "exceed": "exceed",
    "succeed": "succeed",
}

_STEP_2: Final = (
    ("ational", "ate"),
    ("tional", "tion"),
    ("enci", "ence"),
    ("anci", "ance"),
    ("izer", "ize"),
    ("bli", "ble"),
    ("alli", "al"),
    ("entli", "ent"),
    ("eli", "e"),
    ("ousli", "ous"),
    ("ization", "ize"),
    ("ation", "ate"),
    ("ator", "ate"),
    ("alism", "al"),
    ("iveness", "ive"),
    ("fulness", "ful"),
    ("ousness", "ous"),
    ("aliti", "al"),
    ("iviti", "ive"),
    ("biliti", "ble"),
    ("fulli", "ful"),
)
_STEP_3: Final = (
    ("icate", "ic"),
    ("ative", ""),
    ("alize", "al"),
    ("iciti", "ic"),
    ("ical", "ic"),
    ("ful", ""),
    ("ness", ""),
)
_STEP_4: Final = (
    *("al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion"),
    *("ou", "ism", "ate", "iti", "ous", "ive", "ize"),
)


@functools.lru_cache(maxsize=65_536)
def stem(word: str) -> str:
    """Stem of a lower-case word; words of one or two letters stay as they are.

    M. F. Porter, "An algorithm for suffix stripping", Program 14(3), 1980; extensions as in `nltk.stem.porter`.

    >>> [stem(word) for word in ("running", "balls", "relational", "ties", "happy", "dying")]
    ['run', 'ball', 'relat', 'tie', 'happi', 'die']
    """
    if word in IRREGULAR:
        return IRREGULAR[word]
    if len(word) <= 2:
        return word
    for step in (_plural, _past, _final_y, _double_suffix, _suffix, _ending, _final_e, _final_l):
        word = step(word)
    return word


def _letters(word: str) -> str:
    """One letter a letter: v for a vowel, c for a consonant; y is a vowel after a consonant."""
    shape = ""
    for letter in word:
        is_vowel = letter in "aeiou" or (letter == "y" and shape[-1:] == "c")
        shape += "v" if is_vowel else "c"
    return shape


_VOWELS_THEN_CONSONANTS = re.compile("v+c+")


def _measure(word: str) -> int:
    """How often consonants follow vowels: Porter's m."""
    return len(_VOWELS_THEN_CONSONANTS.findall(_letters(word)))


def _ends_short(word: str) -> bool:
    """Porter's *o: consonant, vowel, consonant other than w, x, y; or a whole word of vowel and consonant."""
    shape = _letters(word)
    return (shape[-3:] == "cvc" and word[-1] not in "wxy") or shape == "vc"


def _ends_double(word: str) -> bool:
    return len(word) >= 2 and word[-1] == word[-2] and _letters(word)[-1] == "c"


def _plural(word: str) -> str:
    if word.endswith("ies"):
        return word[:-1] if len(word) == 4 else word[:-2]
    if word.endswith("sses"):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


def _past(word: str) -> str:
    if word.endswith("ied"):
        return word[:-1] if len(word) == 4 else word[:-2]
    if word.endswith("eed"):
        return word[:-1] if _measure(word[:-3]) > 0 else word
    for suffix in ("ed", "ing"):
        base = word.removesuffix(suffix)
        if base != word and "v" in _letters(base):
            return _mended(base)
    return word


def _mended(base: str) -> str:
    """What is left of a word after -ed or -ing, as a word again."""
    if base.endswith(("at", "bl", "iz")):
        return f"{base}e"
    if _ends_double(base):
        return base if base[-1] in "lsz" else base[:-1]
    return f"{base}e" if _measure(base) == 1 and _ends_short(base) else base


def _final_y(word: str) -> str:
    base = word[:-1]
    return f"{base}i" if word.endswith("y") and len(base) > 1 and _letters(base)[-1] == "c" else word


def _replaced(word: str, rules: Sequence[tuple[str, str]], allowed: Callable[[str], bool]) -> str:
    """The first suffix that the word ends with decides, whether it may be replaced or not."""
    for suffix, other in rules:
        if word.endswith(suffix):
            base = word[: -len(suffix)]
            return base + other if allowed(base) else word
    return word


def _double_suffix(word: str) -> str:
    if word.endswith("alli") and _measure(word[:-4]) > 0:
        return _double_suffix(word[:-2])
    if word.endswith("logi"):  # not among the rules: its measure counts the l
        return word[:-1] if _measure(word[:-3]) > 0 else word
    return _replaced(word, _STEP_2, lambda base: _measure(base) > 0)


def _suffix(word: str) -> str:
    return _replaced(word, _STEP_3, lambda base: _measure(base) > 0)


def _ending(word: str) -> str:
    for suffix in _STEP_4:
        if word.endswith(suffix):
            base = word[: -len(suffix)]
            fits = _measure(base) > 1 and (suffix != "ion" or base[-1] in "st")
            return base if fits else word
    return word


def _final_e(word: str) -> str:
    if not word.endswith("e"):
        return word
    base = word[:-1]
    m = _measure(base)
    return base if m > 1 or (m == 1 and not _ends_short(base)) else word


def _final_l(word: str) -> str:
    return word[:-1] if word.endswith("ll") and _measure(word[:-1]) > 1 else word
