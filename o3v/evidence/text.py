"""Words in pixels: font, width, line breaks."""

from __future__ import annotations

from functools import lru_cache

from PIL import ImageFont
from PIL.ImageDraw import ImageDraw

Colour = tuple[int, int, int]

INK: Colour = (28, 30, 34)
FAINT: Colour = (120, 126, 134)


@lru_cache(maxsize=16)
def font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font: the same on every machine."""
    return ImageFont.load_default(size_px)


def clean(text: str) -> str:
    r"""One line of text that any font call accepts: white space becomes a blank, broken surrogates a question mark.

    >>> clean("a\n b\ud800")
    'a b?'
    """
    return " ".join(text.encode("utf-8", "replace").decode("utf-8").split())


def width_px(text: str, size_px: int) -> float:
    """Width of a clean line."""
    return font(size_px).getlength(text)


def wrap(text: str, size_px: int, max_width_px: float, max_lines: int) -> list[str]:
    """Breaks a text into lines that fit; the last one ends with an ellipsis where text is left over.

    Words that are too wide are broken. An empty text has no lines.

    >>> wrap("one two three four five", 12, 60, 2)
    ['one two', 'three fou…']
    """
    words = clean(text[:20_000]).split()
    lines: list[str] = []
    while words and len(lines) < max_lines:
        line, words = _take_line(words, size_px, max_width_px)
        lines.append(line)
    if words:
        last = lines[-1]
        while last and width_px(f"{last}…", size_px) > max_width_px:
            last = last[:-1].rstrip()
        lines[-1] = f"{last}…"
    return lines


def _take_line(words: list[str], size_px: int, max_width_px: float) -> tuple[str, list[str]]:
    """The words that fit on one line, at least one letter, and those left."""
    count = 1
    while count < len(words) and width_px(" ".join(words[: count + 1]), size_px) <= max_width_px:
        count += 1
    if count == 1 and width_px(words[0], size_px) > max_width_px:
        letters = max(1, _fitting_letters(words[0], size_px, max_width_px))
        return words[0][:letters], [rest for rest in [words[0][letters:]] if rest] + words[1:]
    return " ".join(words[:count]), words[count:]


def _fitting_letters(word: str, size_px: int, max_width_px: float) -> int:
    low, high = 0, len(word)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if width_px(word[:middle], size_px) <= max_width_px else (low, middle - 1)
    return low


def write_lines(draw: ImageDraw, at: tuple[float, float], lines: list[str], size_px: int, colour: Colour) -> float:
    """Writes lines below each other; returns the y below the last one."""
    x, y = at
    for line in lines:
        draw.text((x, y), line, font=font(size_px), fill=colour)
        y += line_height(size_px)
    return y


def line_height(size_px: int) -> int:
    """Pixels from one line to the next."""
    return round(size_px * 1.35)
