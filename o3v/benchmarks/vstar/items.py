"""Scores of one V-STaR item: when and where in both chains, and what the judge says about what.

An answer's value is what a parser read: a pair of times, boxes by second, or anything else that a file may hold, which
scores 0. Nothing here raises on a value.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from o3v.benchmarks.vstar.annotations import Item, TruthBox
from o3v.benchmarks.vstar.judge import INVALID
from o3v.benchmarks.vstar.parsers import is_box, is_number, second_of
from o3v.benchmarks.vstar.prompts import KINDS
from o3v.grounding.boxes import box_iou
from o3v.grounding.spans import tiou
from o3v.types import Span

AP_THRESHOLDS = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Of `AP@`: a share of annotated seconds, which the benchmark calls average precision (E14)."""

JUDGE_COLUMN = "judge_score"

Scores = Mapping[str, float]


@dataclass(frozen=True)
class ItemScores:
    """All that the tables need of an item.

    Attributes:
        answered: is there an answer in words.
        rating: the judge's score as it was given, `INVALID` for an unreadable reply; None where nobody judged.
        tious: temporal IoU in chain 1 and 2.
        vious: in both chains the mean over annotated seconds of the best box IoU of that second.
        aps: in both chains the share of annotated seconds that reach each of `AP_THRESHOLDS`.
        parsed: share of the four answers about when and where that could be read.
        coverage: share of the five questions with an answer.
    """

    answered: bool
    rating: int | None
    tious: tuple[float, float]
    vious: tuple[float, float]
    aps: tuple[tuple[float, ...], tuple[float, ...]]
    parsed: float
    coverage: float


def item_scores(found: Mapping[str, Scores], answered_kinds: int) -> ItemScores:
    """Puts the scores of an item's questions together; a question without scores counts 0.

    Args:
        found: kind of question -> its scores, from `what_scores`, `when_scores` and `where_scores`.
        answered_kinds: how many questions were answered at all.
    """
    what = found.get("vqa", {})
    when, where = ([found.get(f"{kind}{chain}", {}) for chain in ("", "_2")] for kind in ("temporal", "spatial"))
    rating = what.get(JUDGE_COLUMN)
    return ItemScores(
        answered=bool(what.get("answered", 0.0)),
        rating=None if rating is None else int(rating),
        tious=(when[0].get("tiou", 0.0), when[1].get("tiou", 0.0)),
        vious=(where[0].get("viou", 0.0), where[1].get("viou", 0.0)),
        aps=(_aps(where[0]), _aps(where[1])),
        parsed=sum(scores.get("parsed", 0.0) for scores in (*when, *where)) / 4,
        coverage=answered_kinds / len(KINDS),
    )


def what_scores(candidate: str, rating: int | None) -> dict[str, float]:
    """Is there an answer in words, and the judge's score where one is known."""
    scores = {"answered": float(bool(candidate))}
    return scores if rating is None else scores | {JUDGE_COLUMN: float(rating)}


def when_scores(item: Item, value: Any) -> dict[str, float]:
    """Temporal IoU of [start, end], or of its text; `parsed` tells whether it is that.

    The IoU is intersection over hull; a segment that ends before it starts scores 0.
    """
    pair = _pair(value)
    return {"tiou": tiou(pair, item.span_s) if pair else 0.0, "parsed": float(pair is not None)}


def where_scores(item: Item, value: Any, definition: str) -> dict[str, float]:
    """`viou` and `AP@x` of boxes by second, in pixels of the video.

    The mean runs over annotated seconds: a second without a prediction scores 0, of several boxes in a second the best
    counts, and seconds beyond the annotated ones cost nothing (E11).

    Args:
        item: with the annotated boxes.
        value: text of the second -> box or boxes.
        definition: `corrected` compares seconds as numbers; `reference` as text, so that 11 and 11.0 do not meet.
    """
    boxes = value if isinstance(value, dict) else {}
    pick = _as_text if definition == "reference" else _as_number
    ious = [pick(truth, boxes) for truth in item.boxes]
    shares = {f"AP@{limit}": _mean([float(iou >= limit) for iou in ious]) for limit in AP_THRESHOLDS}
    return {"viou": _mean(ious), **shares, "parsed": float(bool(boxes))}


def valid_rating(scores: ItemScores) -> int:
    """The judge's score; `INVALID` without one.

    >>> valid_rating(item_scores({}, 0))
    -1
    """
    return INVALID if scores.rating is None else scores.rating


def _aps(scores: Scores) -> tuple[float, ...]:
    return tuple(scores.get(f"AP@{limit}", 0.0) for limit in AP_THRESHOLDS)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _pair(value: Any) -> Span | None:
    if isinstance(value, str):
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return None
    if not isinstance(value, list | tuple) or len(value) != 2 or not all(map(is_number, value)):
        return None
    return float(value[0]), float(value[1])


def _as_number(truth: TruthBox, boxes: Mapping[str, Any]) -> float:
    """Best IoU of the boxes whose second is the annotated one."""
    named = [value for key, value in boxes.items() if second_of(key) == truth.second]
    return max((_best(truth, _candidates(value)) for value in named), default=0.0)


def _as_text(truth: TruthBox, boxes: Mapping[str, Any]) -> float:
    """The same for the released rule, under which one box with a word in it spoils its second."""
    candidates = _candidates(boxes.get(truth.key))
    spoiled = any(isinstance(box, list) and len(box) == 4 and not is_box(box) for box in candidates)
    return 0.0 if spoiled else _best(truth, candidates)


def _candidates(value: Any) -> list[Any]:
    if not isinstance(value, list):
        return []
    return [value] if is_box(value) else value


def _best(truth: TruthBox, candidates: Sequence[Any]) -> float:
    boxes = [(float(a), float(b), float(c), float(d)) for a, b, c, d in filter(is_box, candidates)]
    return max((box_iou(box, truth.box_px) for box in boxes), default=0.0)
