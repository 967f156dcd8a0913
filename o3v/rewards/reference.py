"""The released code's rewards, defects included, so that its numbers can be reproduced and compared.

Open-o3 Video, `reward_func.py` of the released repository, described in golden vectors; the arithmetic below follows
its results, including those of NumPy on odd values. Nothing else in the project uses this module: `reward=reference`
selects it. Known defects, with the corrected rule in the sibling modules:

* the temporal gate is one-sided and strict: `t_gt - t < 1`; a key frame at time -1 counts as none;
* a claim's pattern runs over other tags;
* an answer inside the think block hides the one after it;
* visual QA wants one-word names for its format;
* a box of four lists gives an array, or raises;
* odd numbers in a text and odd annotations raise, and the whole call (all completions) loses its value;
* in a call with several samples, the first one's task is applied to all, and after an error in an ans_* term later
  completions meet the annotation of an earlier one.

Where the released code raises, nothing is raised here: `reference_call` returns the fact, and `ReferenceTerm` NaN.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from o3v.errors import ConfigError
from o3v.grounding.parse import OPTION_MARK, first_block
from o3v.rewards.answer import CHOICE_TASKS, FREE_FORM_TASKS, TEMPORAL_TASKS, mean_rouge
from o3v.rewards.format import GENERAL_TASKS, is_paired
from o3v.rewards.reference_claims import read_overspanning_claims
from o3v.types import BoxScale, Completion, Sample, Task

GATE_S: Final = 1.0
_CAUGHT = (
    ArithmeticError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
    SyntaxError,
    RecursionError,
    MemoryError,
)
_BOX = re.compile(r"<box>(\[.*?\])</box>")
_TIME = re.compile(r"<t>([\d.]+)</t>s")
_SPAN = re.compile(r"<t>(\d+\.?\d*)</t>s to <t>(\d+\.?\d*)</t>s")
_ONE_WORD_BOX = re.compile(r"<obj>\w+</obj><box>\[.*?\]</box>")


@dataclass(frozen=True)
class ReferenceRow:
    """A sample as the released code holds it: raw values, not validated, boxes in its mixture of units.

    Attributes:
        task: one of the six task names.
        answer: text; for temporal tasks a literal `[start, end]`, for temporal MCQ after the letter and a newline; for
            visual QA a text with a box tag in pixels of the original image.
        key_frames: records with `idx` and `time`.
        key_items: str(idx) -> object name -> normalised boxes.
        image_size: width, height of the resized video frame; for visual QA of the original image.
        image_size_refine: visual QA: width, height of the resized image.
    """

    task: str
    answer: str
    key_frames: Any
    key_items: Any
    image_size: Any
    image_size_refine: Any


@dataclass(frozen=True)
class CallOutcome:
    """What one call of a released reward function gives.

    Attributes:
        values: a number a completion, or a nested list where the released code returns an array; None if it raises.
        raised: the exception as "Type: message", None if there was none.
    """

    values: tuple[Any, ...] | None
    raised: str | None


@dataclass(frozen=True)
class ReferenceTerm:
    """One released reward as a term of a mix; NaN where the released code would have raised or returned an array.

    Attributes:
        name: ans_acc, ans_tiou, ans_viou, thk_temporal_point, thk_temporal_segment, thk_spatial or format.
    """

    name: str

    def __post_init__(self) -> None:
        if self.name not in _SCORES:
            raise ConfigError(f"reward reference: name={self.name!r} must be one of {tuple(_SCORES)}")

    @property
    def tasks(self) -> frozenset[Task]:
        """Tasks in which the released reward can be other than 0."""
        return _TASKS[self.name]

    def __call__(self, completion: Completion, sample: Sample, progress: float) -> float:
        """The released reward of one completion."""
        outcome = self.outcome(completion, sample, progress)
        value = outcome.values[0] if outcome.values else math.nan
        return value if isinstance(value, float) else math.nan

    def outcome(self, completion: Completion, sample: Sample, progress: float) -> CallOutcome:
        """What a call of the released function with this one completion gives."""
        return self.call([completion.text], [to_row(sample, completion.box_scale)], progress)

    def call(self, texts: Sequence[str | None], rows: Sequence[ReferenceRow], progress: float) -> CallOutcome:
        """What the released function gives for a whole call, see `reference_call`."""
        return reference_call(self.name, texts, rows, progress)


def to_row(sample: Sample, scale: BoxScale) -> ReferenceRow:
    """A validated sample in the released code's form, its pixels being the units in which the model writes boxes."""
    size = (scale.width, scale.height)
    still = sample.task == Task.VISUAL_QA
    frames = [{"idx": i, "time": frame.time_s} for i, frame in enumerate(sample.key_frames)]
    items = {
        str(i): {name: [list(box) for box in boxes] for name, boxes in frame.boxes.items()}
        for i, frame in enumerate(sample.key_frames)
    }
    return ReferenceRow(sample.task, _row_answer(sample), frames, items, (1, 1) if still else size, size)


def reference_call(
    name: str, texts: Sequence[str | None], rows: Sequence[ReferenceRow], progress: float
) -> CallOutcome:
    """One call of a released reward function.

    Args:
        name: the reward.
        texts: G raw texts.
        rows: the sample of each text.
        progress: share of the training steps done.
    """
    score = _SCORES[name]
    if name.startswith("ans_"):
        return CallOutcome(_call_guarded(score, texts, rows), None)
    values = []
    for text, row in zip(texts, rows, strict=True):
        try:
            with np.errstate(all="ignore"):
                values.append(_plain(score(_required(text), row, rows[0].task, progress)))
        except _CAUGHT as error:
            return CallOutcome(None, f"{type(error).__name__}: {error}")
    return CallOutcome(tuple(values), None)


def _call_guarded(
    score: Callable[..., Any], texts: Sequence[str | None], rows: Sequence[ReferenceRow]
) -> tuple[Any, ...]:
    values, lagging = [], 0
    for text, row in zip(texts, rows, strict=True):
        try:
            with np.errstate(all="ignore"):
                values.append(_plain(score(_required(text), row, rows[0].task, rows[lagging])))
            lagging += 1
        except _CAUGHT:
            values.append(0.0)
    return tuple(values)


def _required(text: str | None) -> str:
    if text is None:
        raise TypeError("expected string or bytes-like object, got 'NoneType'")
    return text


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else float(value)


def _row_answer(sample: Sample) -> str:
    if sample.task == Task.VISUAL_QA:
        return "" if sample.box is None else f"<box>{list(sample.box)}</box>"
    if sample.task in TEMPORAL_TASKS:
        span = "" if sample.span_s is None else str(list(sample.span_s))
        return f"{sample.letter}\n{span}" if sample.task == Task.TEMPORAL_MCQ else span
    return sample.letter or "" if sample.task == Task.GENERAL_MCQ else sample.answer


def _answer(text: str) -> str:
    return (first_block(text, "answer", 0) or "").strip()


def _ans_acc(text: str, row: ReferenceRow, task: str, lagging: ReferenceRow) -> float:
    answer = _answer(text)
    if task == Task.TEMPORAL_MCQ:
        parts = answer.split(OPTION_MARK)
        return float(len(parts) > 1 and _names_option(parts[1], lagging.answer.split("\n")[0]))
    if task == Task.GENERAL_MCQ:
        return float(_names_option(answer, row.answer))
    return mean_rouge(row.answer.strip(), answer) if task in FREE_FORM_TASKS else 0.0


def _names_option(choice: str, option: str) -> bool:
    option = option.strip()
    return choice.strip() in (option, f"{option}.", f"({option})", f"[{option}]")


def _ans_tiou(text: str, row: ReferenceRow, task: str, lagging: ReferenceRow) -> float:
    if task not in TEMPORAL_TASKS:
        return 0.0
    annotated = _annotated_span(lagging.answer, task)
    found = _SPAN.search(_answer(text))
    if not found:
        return 0.0
    start, end = float(found.group(1)), float(found.group(2))
    if end < start:
        return 0.0
    first, last = annotated
    shared = max(0, min(end, last) - max(start, first))
    hull = max(end, last) - min(start, first)
    return shared / hull if hull != 0 else 0.0


def _annotated_span(answer: str, task: str) -> Any:
    return ast.literal_eval(answer.split("\n")[1] if task == Task.TEMPORAL_MCQ else answer)


def _ans_viou(text: str, row: ReferenceRow, task: str, lagging: ReferenceRow) -> Any:
    if task != Task.VISUAL_QA:
        return 0.0
    annotated = _BOX.search(f"<answer>{row.answer}</answer>")
    annotated_box = json.loads(annotated.group(1)) if annotated else None
    found = _BOX.search(_answer(text))
    if not found:
        return 0.0
    box = json.loads(found.group(1))
    return 0.0 if annotated_box is None else _iou(_resized(annotated_box, lagging), box)


def _resized(box: Any, row: ReferenceRow) -> list[float]:
    size, refined = row.image_size, row.image_size_refine
    return [box[i] * refined[i % 2] / size[i % 2] for i in range(4)] + list(box[4:])


def _iou(annotated: Any, claimed: Any) -> Any:
    """IoU with NumPy's view of odd boxes: null is NaN, a box of lists gives an array, a truth test of it may raise."""
    if not (isinstance(claimed, list) and len(claimed) == 4):
        return 0.0
    try:
        a, b = np.array(annotated, dtype=float), np.array(claimed, dtype=float)
    except (ValueError, TypeError, IndexError):
        return 0.0
    left, top = max(a[0], b[0]), max(a[1], b[1])
    right, bottom = min(a[2], b[2]), min(a[3], b[3])
    shared = max(0, right - left) * max(0, bottom - top)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / union if union > 0 else 0.0


def _cited_times(think: str) -> list[float]:
    try:
        return [float(number) for number in _TIME.findall(think)]
    except ValueError:
        return []


def _temporal_point(text: str, row: ReferenceRow, task: str, progress: float) -> float:
    think = first_block(text, "think", 0)
    times = _cited_times(think) if think is not None and task == Task.TEMPORAL_SPATIAL else []
    if not times:
        return 0.0
    key_s = [frame["time"] for frame in row.key_frames]
    sigma = 4 * (1 - progress) if progress < 3 / 4 else 1
    # `**` on purpose: it raises where `*` would give infinity.
    near = [np.exp(-(min(abs(time - key) for key in key_s) ** 2) / (2 * sigma**2)) for time in times]
    return sum(near) / len(near)


def _temporal_segment(text: str, row: ReferenceRow, task: str, progress: float) -> float:
    think = first_block(text, "think", 0)
    if think is None or task not in TEMPORAL_TASKS:
        return 0.0
    annotated = _annotated_span(row.answer, task)
    times = _cited_times(think)
    return sum(1.0 for time in times if annotated[0] <= time <= annotated[1]) / len(times) if times else 0.0


def _spatial(text: str, row: ReferenceRow, task: str, progress: float) -> Any:
    think = first_block(text, "think", 0)
    if think is None or first_block(text, "answer", 0) is None:
        return 0.0
    if task == Task.VISUAL_QA:
        return _spatial_still(think, row)
    if task != Task.TEMPORAL_SPATIAL:
        return 0.0
    claims = read_overspanning_claims(think)
    if not claims:
        return 0.0
    key_s = [frame["time"] for frame in row.key_frames]
    return sum((_claim_iou(claim.boxes, claim.time_s, key_s, row) for claim in claims), 0.0) / len(claims)


def _spatial_still(think: str, row: ReferenceRow) -> Any:
    annotated = _BOX.search(row.answer)
    annotated_box = _loaded(annotated.group(1)) if annotated else None
    boxes = [box for box in map(_loaded, _BOX.findall(think)) if box is not None]
    if not boxes or annotated_box is None:
        return 0.0
    best, resized = 0.0, _resized(annotated_box, row)
    for box in boxes:
        best = max(best, _iou(resized, box))
    return best


def _loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _claim_iou(boxes: Sequence[Any], time_s: float, key_s: Sequence[Any], row: ReferenceRow) -> Any:
    near = [i for i, key in enumerate(key_s) if key - time_s < GATE_S and abs(key - time_s) < math.inf]
    nearest = min(near, key=lambda i: abs(key_s[i] - time_s), default=None)
    if nearest is None or key_s[nearest] == -1:
        return 0.0
    objects = row.key_items[str(row.key_frames[key_s.index(key_s[nearest])]["idx"])]
    best: Any = 0.0
    for annotated in objects.values() if boxes else ():
        overlaps = [max(_iou(_in_pixels(box, row.image_size), one) for one in boxes) for box in annotated]
        if overlaps:
            mean = sum(overlaps) / len(overlaps)
            best = mean if mean > best else best
    return best


def _in_pixels(box: Any, size: Any) -> list[float]:
    x1, y1, x2, y2 = box
    width, height = size
    return [x1 * width, y1 * height, x2 * width, y2 * height]


def _format(text: str, row: ReferenceRow, task: str, progress: float) -> float:
    think = first_block(text, "think", 0)
    if think is None or first_block(text, "answer", 0) is None:
        return 0.0
    paired = all(is_paired(text, tag) for tag in ("think", "answer"))
    if not (paired and all(is_paired(think, tag) for tag in ("obj", "t", "box"))):
        return 0.0
    evidence = all(f"<{tag}>" in think for tag in ("obj", "t", "box"))
    if task in TEMPORAL_TASKS:
        evidence = think.count("<t>") >= 2
    if task == Task.VISUAL_QA:
        evidence = evidence or _ONE_WORD_BOX.search(text) is not None
    return 1.0 if evidence or task in GENERAL_TASKS else 0.5


_SCORES: Mapping[str, Callable[..., Any]] = {
    "ans_acc": _ans_acc,
    "ans_tiou": _ans_tiou,
    "ans_viou": _ans_viou,
    "thk_temporal_point": _temporal_point,
    "thk_temporal_segment": _temporal_segment,
    "thk_spatial": _spatial,
    "format": _format,
}
_TASKS: Mapping[str, frozenset[Task]] = {
    "ans_acc": CHOICE_TASKS | FREE_FORM_TASKS,
    "ans_tiou": TEMPORAL_TASKS,
    "ans_viou": frozenset({Task.VISUAL_QA}),
    "thk_temporal_point": frozenset({Task.TEMPORAL_SPATIAL}),
    "thk_temporal_segment": TEMPORAL_TASKS,
    "thk_spatial": frozenset({Task.VISUAL_QA, Task.TEMPORAL_SPATIAL}),
    "format": frozenset(Task),
}
