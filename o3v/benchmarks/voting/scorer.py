"""The model asked how much the crops of its own claims have to do with the question (arXiv:2510.20579, A.10)."""

from __future__ import annotations

import numpy as np

from o3v.types import BoxScale, Clip, Prompt

SYSTEM = "You are a helpful assistant. Only reply with a single digit: 0, 1, or 2."

_USER = """You will be given a video question and a set of cropped images extracted from the video.
Score how related these images are to answering the question.

Scoring rules:
2 = clearly relevant to answering the question
1 = might be useful but uncertain
0 = not relevant at all

Only output one of: 0, 1, or 2. No other text.
Question: {question}"""

UNSCORED = 0.2
"""Weight of a path without crops, and of one whose score is 0 or cannot be read."""

_RELEVANCE: dict[float, float] = {1: 0.6, 2: 1.0}
_REPLIES = ("0", "1", "2")


def user_text(question: str) -> str:
    """The text before the crops.

    >>> user_text("Why?").splitlines()[-1]
    'Question: Why?'
    """
    return _USER.replace("{question}", question)


def scorer_prompt(question: str, crops: np.ndarray) -> Prompt:
    """The crops and the question as a prompt for the same model that answered.

    Args:
        question: as the model was asked, options included.
        crops: [N, H, W, 3] uint8 RGB, N >= 1.
    """
    height, width = crops.shape[1:3]
    clip = Clip(crops, tuple(float(index) for index in range(len(crops))), 0.0, (width, height))
    return Prompt(SYSTEM, (user_text(question), *range(len(crops))), clip, BoxScale(width, height), None)


def read_score(reply: str | None) -> int | None:
    """The score of a reply: exactly `0`, `1` or `2`; None for anything else, a blank or a point beside it included.

    >>> read_score("2"), read_score(" 2"), read_score("2."), read_score(None)
    (2, None, None, None)
    """
    return int(reply) if reply in _REPLIES else None


def relevance(score: object) -> float:
    """Weight of a score: 2 -> 1.0, 1 -> 0.6, anything else -> 0.2.

    >>> [relevance(score) for score in (2, 1, 0, -1, None, "2", True)]
    [1.0, 0.6, 0.2, 0.2, 0.2, 0.2, 0.6]
    """
    return _RELEVANCE.get(score, UNSCORED) if isinstance(score, int | float) else UNSCORED
