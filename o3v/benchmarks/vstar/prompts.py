"""The five questions about an item, in the words of Open-o3 Video's V-STaR runner (test_vstar_multi_images.py).

Chain 1 asks what, when, where; chain 2 what, where, when. What was asked before is given in its annotated form: chain
1's where gets the annotated seconds, chain 2's where the number of boxes, chain 2's when the boxes without seconds.
"""

from __future__ import annotations

import math

from o3v.benchmarks.question import FRAMES
from o3v.benchmarks.vstar.annotations import Item

SYSTEM = "You are a helpful assistant."

KINDS = ("vqa", "temporal", "spatial", "temporal_2", "spatial_2")
"""The questions of an item; `what` is asked once and counts in both chains."""

_THINK = (
    "You must first think about the reasoning process in the mind and then provide the user with the answer. "
    "The reasoning process and answer are enclosed within <think> </think> and <answer> </answer> tags, respectively."
)
_EVIDENCE = (
    " All reasoning must be grounded in visual evidence from the video. When you mention any related object, person, "
    "or specific visual element, you must strictly follow the following format: "
    "`<obj>object_name</obj><box>bounding_box</box>at<t>time_in_seconds</t>s`. "
    "Do not use <box>, <obj> and <t> in the answer part."
)
_SPAN_FORMAT = "must follow the following format: `From <t>start_time</t>s to <t>end_time</t>s'"


def question_text(kind: str, item: Item, think: bool, definition: str) -> str | None:
    """The user's text of a question.

    Args:
        kind: one of `KINDS`.
        item: what it is about.
        think: ask for reasoning in think tags first.
        definition: `reference` has no text (None) for a moment without a whole second, where the released code raises;
            else the seconds of the annotated boxes stand for them.

    Raises:
        KeyError: another kind.
    """
    makers = {"vqa": _what, "temporal": _when, "temporal_2": _when_given_boxes, "spatial_2": _where_not_given_when}
    if kind == "spatial":
        seconds = whole_seconds(item, definition)
        return _where(item, think, seconds) if seconds else None
    return makers[kind](item, think)


def whole_seconds(item: Item, definition: str) -> list[int]:
    """The whole seconds of the annotated moment, ends included.

    Without one the seconds of its boxes, or else the one nearest to its middle; in `reference` none.
    """
    start, end = item.span_s
    inside = list(range(math.ceil(start), math.floor(end) + 1))
    if inside or definition == "reference":
        return inside
    return sorted({round(box.second) for box in item.boxes}) or [round((start + end) / 2)]


def _what(item: Item, think: bool) -> str:
    hint = "\n (If the answer is a person, you don't need to identify the person.)"
    reasoning = _THINK + _EVIDENCE if think else ""
    return f"Answer the question about the video: {item.question} {hint}{reasoning}"


def _when(item: Item, think: bool) -> str:
    asked = f"This video is {item.duration_s} seconds long. {FRAMES}\n{_moment(item)} \n"
    direct = f"Directly output the start and end moment timestamps. You {_SPAN_FORMAT}."
    return asked + (f". {_THINK} The answer {_SPAN_FORMAT}" if think else direct)


def _when_given_boxes(item: Item, think: bool) -> str:
    width, height = item.size_px
    boxes = [list(box.box_px) for box in item.boxes]
    asked = (
        f"This video is {item.duration_s} seconds long with a resolution of {width}x{height} (width x height). "
        f"{FRAMES}\n{_moment(item)} \n"
        f"There are {len(boxes)} bounding boxes of the key object related to the question in the video without knowing "
        f"the time, which are:{boxes}. "
    )
    direct = f"Directly output the start and end moment timestamps. You {_SPAN_FORMAT}."
    return asked + (f"{_THINK} The answer {_SPAN_FORMAT}" if think else direct)


def _moment(item: Item) -> str:
    return f"Answer the question about the video: {item.temporal_question}"


def _where(item: Item, think: bool, seconds: list[int]) -> str:
    task = (
        f"or each whole second within the time range {seconds} provided (inclusive of the boundaries), output a series "
        "of bounding boxes of the object in JSON format. The keys should be the whole seconds (as strings), and the "
        "values should be the box in [x1, y1, x2, y2] format.\n"
    )
    example = f'{{"{seconds[0]}": [x1, y1, x2, y2],...}}\n'
    return _boxes_asked(item.spatial_question) + _in_mode(task, "", example, think)


def _where_not_given_when(item: Item, think: bool) -> str:
    n = len(item.boxes)
    task = (
        "or each whole second that may related to the question, output a series of bounding boxes of the object in "
        f"JSON format. You only need to output {n} bbox(es). You need to determine which frame is related to the "
        "question, and you don't need to output the bbox for the frames not related to the question.\n"
        "The keys should be the whole seconds (as strings), and the values should be the bounding box in "
        "[x0,y0,x1,y1] format.\n"
    )
    example = f'{{"0": [x0,y0,x1,y1], "1":..., ..., "{n}":...}}'
    example += f" (if the frames at 0~{n} second are related to the questions)\n"
    return _boxes_asked(item.spatial_question_2) + _in_mode(task, "\n", example, think)


def _boxes_asked(question: str) -> str:
    with_boxes = "with a series of bounding boxes in [x1, y1, x2, y2] format."
    return f"{FRAMES}\nPlease answer the question about the video: {question} {with_boxes}\n"


def _in_mode(task: str, gap: str, example: str, think: bool) -> str:
    """`task` lacks its first letter, as it opens a sentence or continues one; `gap` stands around the example."""
    space = gap or " "
    if not think:
        return f"F{task}{gap}Example output:{space}{example}"
    return f"{_THINK}\nIn the answer part, f{task}{gap}Example output of the answer part:{space}{example}"
