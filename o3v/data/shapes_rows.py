"""Scenes -> STGR rows: questions, reasoning, answers and annotations in the published schema.

Rows are the official dictionaries (facts of the STGR release), so that the generated world passes through the same
reader, validation, decoder and prompt as a downloaded data set.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from o3v.data.shapes import DIRECTIONS, Scene, ShapeObject, ShapesWorld
from o3v.types import Box, Task

Row = dict[str, Any]

SOURCES: dict[Task, str] = {
    Task.VISUAL_QA: "gqa",
    Task.TEMPORAL_QA: "TVG_shapes",
    Task.TEMPORAL_MCQ: "TVG_shapes_mcq",
    Task.TEMPORAL_SPATIAL: "STR_shapes",
    Task.GENERAL_MCQ: "videor1_mcq",
    Task.GENERAL_FREE_FORM: "videor1_free_from",
}
_LETTERS = "ABCD"


def _box_text(box: Box) -> str:
    return "[" + ",".join(f"{v:.4f}" for v in box) + "]"


def _claim(world: ShapesWorld, item: ShapeObject, frame: int) -> str:
    box = _box_text(world.box(item, frame))
    return f"<obj>{item.name}</obj><box>{box}</box>at<t>{world.time_s(frame):.1f}</t>s"


def _span(world: ShapesWorld, item: ShapeObject) -> tuple[float, float]:
    return world.time_s(item.first_frame), world.time_s(item.last_frame)


def _seen(world: ShapesWorld, item: ShapeObject) -> str:
    """Both ends in plain words before the claims: a box precedes its time in the grammar, so time is decided first."""
    start, end = _span(world, item)
    first, last = _claim(world, item, item.first_frame), _claim(world, item, item.last_frame)
    return f"It is seen from {start:.1f} to {end:.1f}. {first} {last}"


def _empty_row(task: Task) -> Row:
    return {
        "source": SOURCES[task],
        "task": str(task),
        "reasoning_process": "",
        "video_path": "",
        "image_path": "",
        "image_size": [],
        "key_frames": [],
        "key_items": {},
    }


def visual_row(world: ShapesWorld, scene: Scene, rng: np.random.Generator) -> Row:
    """`Where is the red circle?` about a still image; boxes are pixels of the image, as published."""
    item = scene.objects[int(rng.integers(len(scene.objects)))]
    box = "[" + ",".join(str(round(v * world.frame_px)) for v in world.box(item, 0)) + "]"
    grounded = f"<obj>{item.name}</obj><box>{box}</box>"
    return _empty_row(Task.VISUAL_QA) | {
        "question": f"Where is the {item.name}?",
        "answer": grounded,
        "reasoning_process": grounded,
        "image_size": [world.frame_px, world.frame_px],
    }


def temporal_row(world: ShapesWorld, scene: Scene, rng: np.random.Generator) -> Row:
    """`When is the red circle seen?`."""
    item = scene.objects[int(rng.integers(len(scene.objects)))]
    start, end = _span(world, item)
    return _empty_row(Task.TEMPORAL_QA) | {
        "question": f"When is the {item.name} seen?",
        "answer": f"From <t>{start:.1f}</t>s to <t>{end:.1f}</t>s",
        "reasoning_process": _seen(world, item),
        "span": [start, end],
    }


def temporal_mcq_row(world: ShapesWorld, scene: Scene, rng: np.random.Generator) -> Row:
    """When an object is seen, and which way it moves (four options)."""
    item = scene.objects[int(rng.integers(len(scene.objects)))]
    options = [str(d) for d in rng.permutation(list(DIRECTIONS))]
    letter = _LETTERS[options.index(item.direction)]
    start, end = _span(world, item)
    listed = "\n".join(f"{a}. {option}" for a, option in zip(_LETTERS, options, strict=True))
    return _empty_row(Task.TEMPORAL_MCQ) | {
        "question": f"When is the {item.name} seen, and which way does it move?\n{listed}",
        "answer": f"From <t>{start:.1f}</t>s to <t>{end:.1f}</t>s\nCorrect Option: {letter}",
        "reasoning_process": f"{_seen(world, item)} It moves {item.direction}.",
        "span": [start, end],
        "letter": letter,
    }


def appearance_row(world: ShapesWorld, scene: Scene, rng: np.random.Generator) -> Row:
    """`Which object appears first?` (or last): key frames are the moments at which objects appear."""
    by_time = sorted(scene.objects, key=lambda item: item.first_frame)
    which = "first" if rng.random() < 0.5 else "last"
    item = by_time[0] if which == "first" else by_time[-1]
    claims = " ".join(_claim(world, other, other.first_frame) for other in by_time)
    times = ", ".join(f"{world.time_s(other.first_frame):.1f}" for other in by_time)
    frames = sorted({other.first_frame for other in by_time})
    return _empty_row(Task.TEMPORAL_SPATIAL) | {
        "question": f"Which object appears {which}?",
        "answer": item.name,
        "reasoning_process": f"Objects appear at {times}. {claims}",
        "key_frames": [{"idx": k, "time": world.time_s(k), "path": ""} for k in frames],
        "key_items": {
            str(k): {o.name: [[round(v, 4) for v in world.box(o, k)]] for o in by_time if o.is_visible(k)}
            for k in frames
        },
    }


def count_mcq_row(world: ShapesWorld, scene: Scene, rng: np.random.Generator) -> Row:
    """`How many objects appear?` with four options."""
    counts = rng.permutation([1, 2, 3, 4]).tolist()
    letter = _LETTERS[counts.index(len(scene.objects))] if len(scene.objects) in counts else "A"
    listed = "\n".join(f"{a}. {n}" for a, n in zip(_LETTERS, counts, strict=True))
    return _empty_row(Task.GENERAL_MCQ) | {
        "question": f"How many objects appear?\n{listed}",
        "answer": letter,
        "reasoning_process": " ".join(_claim(world, o, o.first_frame) for o in scene.objects),
        "letter": letter,
    }


def naming_row(world: ShapesWorld, scene: Scene, rng: np.random.Generator) -> Row:
    """`Which way does the red circle move?` in free form."""
    item = scene.objects[int(rng.integers(len(scene.objects)))]
    return _empty_row(Task.GENERAL_FREE_FORM) | {
        "question": f"Which way does the {item.name} move?",
        "answer": item.direction,
        "reasoning_process": _seen(world, item),
    }


ROWS: dict[Task, Callable[[ShapesWorld, Scene, np.random.Generator], Row]] = {
    Task.VISUAL_QA: visual_row,
    Task.TEMPORAL_QA: temporal_row,
    Task.TEMPORAL_MCQ: temporal_mcq_row,
    Task.TEMPORAL_SPATIAL: appearance_row,
    Task.GENERAL_MCQ: count_mcq_row,
    Task.GENERAL_FREE_FORM: naming_row,
}


def draw_row(world: ShapesWorld, task: Task, seed: int) -> tuple[Row, Scene]:
    """A row of a task and the scene it speaks of; the same seed gives the same pair.

    `Which object appears first?` needs at least two objects that do not appear at once; such scenes are drawn again.
    """
    for attempt in range(1000):
        number = seed * 1000 + attempt  # rows of neighbouring seeds never share a scene
        scene = world.still(number) if task is Task.VISUAL_QA else world.scene(number)
        starts = [item.first_frame for item in scene.objects]
        if task is not Task.TEMPORAL_SPATIAL or (len(starts) > 1 and len(set(starts)) == len(starts)):
            return ROWS[task](world, scene, np.random.default_rng([seed, 11])), scene
    raise ValueError(f"no scene for {task} in 1000 tries: max_objects must be at least 2, is {world.max_objects}")


def rl_row(row: Row) -> Row:
    """The same row as the RL file publishes it: no reasoning, temporal answers as `[s, e]` (with the letter before)."""
    answer = row["answer"]
    if "span" in row:
        segment = str(row["span"])
        answer = f"{row['letter']}\n{segment}" if "letter" in row else segment
    return row | {"reasoning_process": "", "answer": answer}
