"""Answers that look at nothing, as texts: the whole video, its centre, the full frame, one letter for all.

A benchmark gives what these answers may know of a question (its id, options, length of the video, moments that are
asked about) and gets name of a baseline -> question id -> text, as `Benchmark.baselines` returns it. The texts go
through the benchmark's own parser and score like a model's. Boxes are written in thousandths of the frame (`SCALE`).

Why they matter: on TVGBench the whole video has an mIoU of 17.6, more than several published models
(16.3 for Qwen2.5-VL-7B, arXiv:2510.20579, table 2), and V-STaR's "where" does not punish boxes at every second.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from o3v.grounding.render import render_claim, render_span, render_target
from o3v.types import Box, BoxScale, Claim, Span

SCALE = BoxScale(1000.0, 1000.0)
"""Units of the boxes in the texts."""

FULL_FRAME: Box = (0.0, 0.0, 1.0, 1.0)
CENTRE_BOX: Box = (0.25, 0.25, 0.75, 0.75)

MAX_MOMENTS = 4000
"""Boxes are written for at most so many moments of a video (an hour of seconds)."""

Texts = Mapping[str, str]
"""Question id -> answer."""

_NAME = "object"


def letter_baselines(options: Mapping[str, Sequence[str]], truths: Mapping[str, str], seed: int) -> dict[str, Texts]:
    r"""Letters that need no video: `majority_letter` and `random_letter`.

    The majority letter is the most frequent one of the benchmark's own truths, so it is an upper bound for any
    constant letter; of equals the first by name. Where a question does not offer it, its first option stands.
    The random letter is drawn by question id and seed; its exact expectation is `random_letter_accuracy`.

    Args:
        options: question id -> letters that it offers, in order; questions without options are left out.
        truths: question id -> right letter.
        seed: of the random letters.

    Example:
        >>> found = letter_baselines({"a": "ABCD", "b": "ABCD"}, {"a": "C", "b": "C"}, seed=0)
        >>> sorted(found), found["majority_letter"]["a"]
        (['majority_letter', 'random_letter'], '<think></think>\n<answer>C</answer>')
    """
    asked = {key: letters for key, letters in options.items() if letters}
    most = majority(truths[key] for key in asked if key in truths)
    constant = {key: most if most is not None and most in letters else letters[0] for key, letters in asked.items()}
    drawn = {key: letters[_draw(key, seed, len(letters))] for key, letters in asked.items()}
    return {
        name: {key: render_target("", str(letter)) for key, letter in chosen.items()}
        for name, chosen in (("majority_letter", constant), ("random_letter", drawn))
    }


def random_letter_accuracy(options: Mapping[str, Sequence[str]]) -> float:
    """Expected accuracy of a letter drawn uniformly from each question's options; nan without questions.

    >>> random_letter_accuracy({"a": "ABCD", "b": "AB"})
    0.375
    """
    shares = [1 / len(letters) for letters in options.values() if letters]
    return math.fsum(shares) / len(shares) if shares else math.nan


def majority(letters: Iterable[str]) -> str | None:
    """The most frequent one; of equals the first by name, None of nothing.

    >>> majority("BABA"), majority("")
    ('A', None)
    """
    counts = Counter(letters)
    return min(counts, key=lambda letter: (-counts[letter], letter)) if counts else None


def span_baselines(durations_s: Mapping[str, float]) -> dict[str, Texts]:
    r"""Segments that need no video: `whole_video`, and `centre_third`, the middle third of it.

    Args:
        durations_s: question id -> length of what is asked about, seconds.

    Example:
        >>> span_baselines({"a": 9.0})["centre_third"]["a"]
        '<think></think>\n<answer>From <t>3.0</t>s to <t>6.0</t>s</answer>'
    """
    return {
        name: {key: render_target("", render_span(span(duration), None)) for key, duration in durations_s.items()}
        for name, span in SPANS.items()
    }


def whole(duration_s: float) -> Span:
    """All of a video.

    >>> whole(9.0)
    (0.0, 9.0)
    """
    return 0.0, duration_s


def centre(duration_s: float) -> Span:
    """The middle third of a video.

    >>> centre(9.0)
    (3.0, 6.0)
    """
    return duration_s / 3, 2 * duration_s / 3


def box_baselines(
    times_s: Mapping[str, Sequence[float]], write: Callable[[Sequence[float], Box], str]
) -> dict[str, Texts]:
    """Boxes that need no video: `full_frame`, and `centre_box`, half the frame wide and high in its middle.

    Args:
        times_s: question id -> moments at which a box stands; `whole_seconds` gives them for a video or a segment.
        write: moments and a normalised box -> text: `claims_text` (the project's grammar) or `boxes_json` (V-STaR's).

    Example:
        >>> box_baselines({"a": [1.0]}, boxes_json)["centre_box"]["a"]
        '{"1": [250, 250, 750, 750]}'
    """
    return {
        name: {key: write(moments[:MAX_MOMENTS], box) for key, moments in times_s.items()}
        for name, box in BOXES.items()
    }


def whole_seconds(span_s: Span) -> tuple[float, ...]:
    """The whole seconds of a segment, ends included; its middle when there is none.

    >>> whole_seconds((1.5, 4.0)), whole_seconds((1.2, 1.6))
    ((2.0, 3.0, 4.0), (1.4,))
    """
    start, end = span_s
    found = tuple(float(second) for second in range(math.ceil(start), math.floor(end) + 1))
    return found or ((start + end) / 2,)


def claims_text(times_s: Sequence[float], box: Box) -> str:
    r"""One box claimed at every moment, in the project's grammar; an answer block without words follows.

    >>> claims_text([2.0], CENTRE_BOX)
    '<think><obj>object</obj><box>[250,250,750,750]</box>at<t>2.0</t>s</think>\n<answer></answer>'
    """
    return render_target(" ".join(render_claim(Claim(_NAME, (box,), time), SCALE) for time in times_s), "")


def boxes_json(times_s: Sequence[float], box: Box) -> str:
    """One box at every moment as V-STaR asks for it: a JSON object from seconds to corners.

    >>> boxes_json([2.0, 2.5], FULL_FRAME)
    '{"2": [0, 0, 1000, 1000], "2.5": [0, 0, 1000, 1000]}'
    """
    return json.dumps({f"{time:g}": list(SCALE.to_model(box)) for time in times_s})


def together(*parts: Texts) -> Texts:
    """Baselines of different kinds of questions as one that answers them all; of one question the first counts.

    >>> together({"a/when": "x"}, {"a/where": "y", "a/when": "z"})
    {'a/where': 'y', 'a/when': 'x'}
    """
    answered: dict[str, str] = {}
    for part in reversed(parts):
        answered |= part
    return answered


def _draw(key: str, seed: int, n: int) -> int:
    """0 to n - 1, the same on every machine and independent of which other questions are asked."""
    digest = hashlib.sha256(f"{seed}:{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % n


SPANS: Mapping[str, Callable[[float], Span]] = {"whole_video": whole, "centre_third": centre}
BOXES: Mapping[str, Box] = {"full_frame": FULL_FRAME, "centre_box": CENTRE_BOX}
