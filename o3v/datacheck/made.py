"""A data set of any size in the official layout, to measure the check on: real films and pictures, every task."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from o3v.data.rows import media_folder
from o3v.types import Task
from o3v.video.encode import write_video

ANNOTATIONS: Final = "json_data/STGR-RL.json"
SIDE_PX: Final = 64
FRAMES: Final = 8
FPS: Final = 2.0

SOURCES: Final = {
    Task.TEMPORAL_SPATIAL: "STR_plm_rdcap",
    Task.TEMPORAL_QA: "timerft",
    Task.TEMPORAL_MCQ: "TVG_qvhighlight",
    Task.VISUAL_QA: "gqa",
    Task.GENERAL_MCQ: "videor1_mcq",
    Task.GENERAL_FREE_FORM: "videor1_free_from",
}
"""Task -> a source of it."""


def write_made(root: Path, n_rows: int, n_media: int, seed: int) -> Path:
    """Write a data set; one that is there already is left as it is.

    Rows go round the tasks, and the rows of a task round its media files. No two files have the same content, no two
    rows the same question.

    Args:
        root: data root; `videos` and `json_data` are made below it.
        n_rows: rows.
        n_media: media files, at least one a task.
        seed: of pictures, boxes and times.

    Returns:
        The annotation file.
    """
    file = root / ANNOTATIONS
    if file.is_file():
        return file
    tasks = list(SOURCES)
    names: dict[Task, list[str]] = {task: [] for task in tasks}
    for number in range(n_media):
        task = tasks[number % len(tasks)]
        names[task].append(_write_media(root, task, number, seed))
    rows = [_row(tasks[n % len(tasks)], n, names[tasks[n % len(tasks)]], seed) for n in range(n_rows)]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(rows))
    return file


def _write_media(root: Path, task: Task, number: int, seed: int) -> str:
    """One file, of noise that no other file has; returns its name."""
    rng = np.random.default_rng([seed, number])
    is_image = task is Task.VISUAL_QA
    folder = root / media_folder(SOURCES[task], is_image)
    path = folder / f"{task.name.lower()}_{number:06d}.{'jpg' if is_image else 'mp4'}"
    tiles = rng.integers(0, 256, (1 if is_image else FRAMES, 4, 4, 3), dtype=np.uint8)
    frames = tiles.repeat(SIDE_PX // 4, axis=1).repeat(SIDE_PX // 4, axis=2)
    if is_image:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(frames[0]).save(path)
    else:
        write_video(path, frames, fps=FPS)
    return path.name


def _row(task: Task, number: int, names: list[str], seed: int) -> dict[str, Any]:
    rng = np.random.default_rng([seed, 1, number])
    name = names[number // len(SOURCES) % len(names)]
    is_image = task is Task.VISUAL_QA
    row: dict[str, Any] = {
        "id": f"made-{number}",
        "source": SOURCES[task],
        "task": str(task),
        "question": f"What is seen, and when, in clip {number}?\nA. one\nB. two\nC. three\nD. four",
        "answer": "A red tile in the middle of the picture.",
        "reasoning_process": "",
        "video_path": "" if is_image else name,
        "image_path": name if is_image else "",
        "image_size": [SIDE_PX, SIDE_PX] if is_image else [],
        "key_frames": [],
        "key_items": {},
    }
    return row | _ANNOTATIONS[task](rng)


def _spatial(rng: np.random.Generator) -> dict[str, Any]:
    times = sorted(rng.choice(FRAMES, 2, replace=False).tolist())
    corners = np.round(rng.uniform(0.0, 0.5, (2, 2)), 4).tolist()
    boxes = [[x, y, round(x + 0.25, 4), round(y + 0.25, 4)] for x, y in corners]
    claims = (f"A <obj>tile</obj><box>{box}</box>at<t>{t / FPS}</t>s." for t, box in zip(times, boxes, strict=True))
    return {
        "reasoning_process": " ".join(claims),
        "key_frames": [{"idx": t, "time": t / FPS, "path": ""} for t in times],
        "key_items": {str(t): {"tile": [box]} for t, box in zip(times, boxes, strict=True)},
    }


def _segment(rng: np.random.Generator) -> str:
    start, end = sorted(rng.choice(FRAMES, 2, replace=False).tolist())
    return f"[{start / FPS}, {end / FPS}]"


def _visual(rng: np.random.Generator) -> dict[str, Any]:
    x, y = rng.integers(0, SIDE_PX // 2, 2).tolist()
    return {"answer": f"<obj>tile</obj><box>[{x},{y},{x + 16},{y + 16}]</box>"}


_ANNOTATIONS: Final = {
    Task.TEMPORAL_SPATIAL: _spatial,
    Task.TEMPORAL_QA: lambda rng: {"answer": _segment(rng)},
    Task.TEMPORAL_MCQ: lambda rng: {"answer": f"A\n{_segment(rng)}"},
    Task.VISUAL_QA: _visual,
    Task.GENERAL_MCQ: lambda rng: {"answer": "ABCD"[int(rng.integers(4))]},
    Task.GENERAL_FREE_FORM: lambda rng: {},
}
"""Task -> what stands in its rows beside the common fields."""
