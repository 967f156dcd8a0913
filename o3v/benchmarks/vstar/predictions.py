"""Saved predictions in the released format: the annotation's rows with answers in them.

Fields of a row beside the annotation: `answer_vqa`; `answer_temporal` (pair) and `answer_temporal_pre` (text);
`answer_spatial` (boxes by second) and `answer_spatial_pre`; the same of chain 2 as `answer_temporal_2` and
`answer_temporal_pre_2`; `input_shape`, width and height of the frames in which the boxes are, the video's own where it
is missing. A judge's score may stand under `VQA_score` or `judge_score`.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from o3v.benchmarks.vstar.annotations import Item
from o3v.benchmarks.vstar.items import what_scores, when_scores, where_scores
from o3v.benchmarks.vstar.judge import candidate
from o3v.benchmarks.vstar.parsers import boxes_by_second, is_number, read_boxes, read_times, scaled_boxes
from o3v.benchmarks.vstar.prompts import KINDS
from o3v.benchmarks.vstar.reference_parsers import reference_times
from o3v.errors import DataError
from o3v.types import BoxScale

log = logging.getLogger(__name__)

_JUDGED_FIELDS = ("VQA_score", "judge_score")


@dataclass(frozen=True)
class Answers:
    """What a row of predictions says.

    Attributes:
        texts: kind of question -> text; the parsed answer as JSON where the row has no text.
        scores: kind of question -> scores.
        given: kinds that have an answer.
        failure: why the released script stops at this row; None where it does not, and always in `corrected`.
    """

    texts: Mapping[str, str]
    scores: Mapping[str, Mapping[str, float]]
    given: frozenset[str]
    failure: str | None


def read_answers(row: Mapping[str, Any], item: Item, rating: int | None, definition: str) -> Answers:
    """Scores of a row; what is missing or of another form than expected scores 0.

    Args:
        row: of a file of predictions.
        item: the annotation in the row.
        rating: the judge's score of `answer_vqa`; None where it is not known.
        definition: `reference` takes parsed answers as they are, reads an empty pair of times from its text again, and
            stops (`failure`) where the key of a pair is missing. `corrected` reads texts by the better parser where the
            parsed answer holds nothing, and converts boxes from `input_shape` to the video.
    """
    raw = row.get("answer_vqa")
    words = candidate(raw, definition) if isinstance(raw, str) and definition != "reference" else _text(raw)
    scores = {"vqa": what_scores(words, rating if words else None)}
    failures: list[str | None] = []
    for chain in ("", "_2"):
        times, failure = _times(row, chain, definition)
        failures.append(failure)
        scores[f"temporal{chain}"] = when_scores(item, times)
        scores[f"spatial{chain}"] = where_scores(item, _boxes(row, chain, item, definition), definition)
    return Answers(
        texts={kind: _words_of(row, kind) for kind in KINDS},
        scores=scores,
        given=frozenset(kind for kind in KINDS if row.get(f"answer_{kind}") or row.get(_text_key(kind))),
        # the released script leaves a row without an answer in words before it reads the other keys
        failure=next((failure for failure in failures if failure and words), None),
    )


def read_judge_scores(source: Path | Mapping[str, int] | None) -> dict[str, int]:
    """A judge's scores: a JSON object from question, item, video or row number to a score, or a list by row.

    Raises:
        DataError: the file cannot be read, or a value is no whole number.
    """
    if source is None:
        return {}
    found: Any = source
    if isinstance(source, Path):
        try:
            found = json.loads(source.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"{source}: cannot be read as JSON ({error})") from error
    if isinstance(found, list):
        found = {str(number): score for number, score in enumerate(found)}
    if not isinstance(found, Mapping):
        raise DataError(f"{source}: wanted an object from question id to score, or a list by row")
    wrong = [key for key, score in found.items() if not is_number(score) or score != int(score)]
    if wrong:
        raise DataError(f"{source}: {wrong[0]}={found[wrong[0]]!r}; wanted a whole number")
    return {str(key): int(score) for key, score in found.items()}


def ratings_of(rows: Sequence[Mapping[str, Any]], items: Sequence[Item], judged: Mapping[str, int]) -> list[int | None]:
    """The judge's score of each row: from `judged`, or from the row itself; None where neither has one.

    `judged` may name a row by its question's id (ITEM/vqa), its item's id, its video (where the file has it once) or
    its number in the file.

    Raises:
        DataError: scores are given and none of them belongs to a row.
    """
    of_video = Counter(item.vid for item in items)
    found: list[int | None] = []
    matched = 0
    for number, (row, item) in enumerate(zip(rows, items, strict=True)):
        names = (f"{item.id}/vqa", item.id, *([item.vid] if of_video[item.vid] == 1 else []), str(number))
        given = next((judged[name] for name in names if name in judged), None)
        matched += given is not None
        written = (row.get(field) for field in _JUDGED_FIELDS)
        own = next((int(value) for value in written if isinstance(value, int | float) and is_number(value)), None)
        found.append(own if given is None else given)
    if judged and not matched:
        raise DataError(f"judge_scores: no key belongs to a row; there are {[*judged][:2]}, wanted such as {names}")
    return found


def _times(row: Mapping[str, Any], chain: str, definition: str) -> tuple[Any, str | None]:
    """Value of a pair of times, and what the released script raises."""
    key, text_key = f"answer_temporal{chain}", f"answer_temporal_pre{chain}"
    value, text = row.get(key), row.get(text_key)
    if definition != "reference":
        return (read_times(text) if value == [] and isinstance(text, str) else value), None
    if key not in row:
        return None, f"KeyError: '{key}'"
    if value != []:
        return value, None
    if not isinstance(text, str):
        return None, f"TypeError: '{text_key}'" if text_key in row else f"KeyError: '{text_key}'"
    return reference_times(text), None


def _boxes(row: Mapping[str, Any], chain: str, item: Item, definition: str) -> Any:
    """Value of boxes by second, in pixels of the video."""
    value, text = row.get(f"answer_spatial{chain}"), row.get(f"answer_spatial_pre{chain}")
    if definition == "reference":
        return value
    scale = _input_scale(row, item)
    if isinstance(text, str) and not boxes_by_second(value or None):
        return read_boxes(text, scale, item.size_px)
    if not isinstance(value, dict):
        return None
    factors = (item.size_px[0] / scale.width, item.size_px[1] / scale.height)
    if factors == (1, 1):
        return value
    return scaled_boxes({key: boxes for key, boxes in value.items() if boxes_by_second({key: boxes})}, factors)


def _input_scale(row: Mapping[str, Any], item: Item) -> BoxScale:
    shape = row.get("input_shape")
    known = isinstance(shape, list) and len(shape) == 2 and all(is_number(side) and side > 0 for side in shape)
    width, height = shape if known and shape is not None else item.size_px
    return BoxScale(width, height)


def _text_key(kind: str) -> str:
    stem, _, chain = kind.partition("_")
    return f"answer_{stem}_pre" + (f"_{chain}" if chain else "")


def _words_of(row: Mapping[str, Any], kind: str) -> str:
    return _text(row.get(_text_key(kind)) or row.get(f"answer_{kind}"))


def _text(value: Any) -> str:
    """A text as it is, nothing as "", other values as JSON."""
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False) if value else ""
