"""Rows with one fault each: every rule's own example, beside a row that no rule objects to."""

from __future__ import annotations

import copy
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from o3v.datacheck.row_reading import Limits, RowSettings
from tests.video.clips import even_times, write_clip

LIMITS = Limits(reasoning_time_s=0.1, reasoning_box=0.02, large_box=0.8, key_frame_s=1.0, span_s=0.5, duration_s=1.0)
BOX = [0.1, 0.2, 0.4, 0.6]
OTHER = [0.5, 0.5, 0.9, 0.9]
TWO_S = even_times(50)
"""Times of a clip of two seconds."""

SPATIAL: dict[str, Any] = {
    "id": "spatial",
    "source": "STR_plm_rdcap",
    "task": "temporal-spatial free-form QA",
    "question": "Who runs?",
    "answer": "A man.",
    "reasoning_process": f"A <obj>man</obj><box>{BOX}</box>at<t>0.5</t>s runs to <box>{OTHER}</box> by <t>1.5</t>.",
    "video_path": "clip.mp4",
    "image_path": "",
    "image_size": [],
    "key_frames": [{"idx": 1, "time": 0.5, "path": "k.jpg"}, {"idx": 2, "time": 1.5, "path": "k.jpg"}],
    "key_items": {"1": {"man": [BOX]}, "2": {"dog": [OTHER]}},
}
TEMPORAL = SPATIAL | {
    "id": "temporal",
    "source": "timerft",
    "task": "temporal QA",
    "question": "When does he run?",
    "answer": "[0.5, 1.5]",
    "reasoning_process": "",
    "key_frames": [],
    "key_items": {},
}
VISUAL = TEMPORAL | {
    "id": "visual",
    "source": "gqa",
    "task": "visual QA",
    "question": "Where is the ball?",
    "answer": "<obj>ball</obj><box>[10,10,60,50]</box>",
    "video_path": "",
    "image_path": "image.jpg",
    "image_size": [160, 96],
}
CHOICE = TEMPORAL | {
    "id": "choice",
    "source": "videor1_mcq",
    "task": "General video QA MCQ",
    "question": "What happens?\nA. he runs\nB. he falls",
    "answer": "B",
}
GOOD = [SPATIAL, TEMPORAL, VISUAL, CHOICE]


def changed(row: dict[str, Any], **values: Any) -> dict[str, Any]:
    """A copy with other values, and an id and a question of its own."""
    mark = zlib.crc32(json.dumps(values, sort_keys=True).encode())
    return copy.deepcopy(row) | {"id": f"faulty-{mark}", "question": f"{row['question']} ({mark})"} | values


def items(box: list[float], **frames: Any) -> dict[str, Any]:
    return {"key_items": {"1": {"man": [box]}, "2": {"dog": [OTHER]}} | frames, "reasoning_process": ""}


FAULTY: dict[str, dict[str, Any]] = {
    "unreadable": changed(SPATIAL, task="dancing"),
    "media_missing": changed(TEMPORAL, video_path="gone.mp4"),
    "media_unreadable": changed(TEMPORAL, video_path="broken.mp4"),
    "picture_missing": changed(
        SPATIAL, key_frames=[{"idx": 1, "time": 0.5, "path": "gone.jpg"}, {"idx": 2, "time": 1.5, "path": "k.jpg"}]
    ),
    "image_size": changed(VISUAL, image_size=[320, 192]),
    "key_frame_outside": changed(
        SPATIAL, reasoning_process="", key_frames=[{"idx": 1, "time": 0.5}, {"idx": 2, "time": 3.5}]
    ),
    "key_frame_edge": changed(
        SPATIAL, reasoning_process="", key_frames=[{"idx": 1, "time": 0.5}, {"idx": 2, "time": 2.5}]
    ),
    "key_frame_twice": changed(
        SPATIAL, reasoning_process="", key_frames=[{"idx": 1, "time": 0.5}, {"idx": 2, "time": 0.5}]
    ),
    "key_frame_no_box": changed(SPATIAL, **items(BOX, **{"2": None})),
    "unused_boxes": changed(SPATIAL, **items(BOX, **{"7": {"cat": [BOX]}})),
    "span_empty": changed(TEMPORAL, answer="[1.5, 1.5]"),
    "span_outside": changed(TEMPORAL, answer="[0.5, 2.6]"),
    "span_edge": changed(TEMPORAL, answer="[0.5, 2.4]"),
    "box_outside": changed(SPATIAL, **items([0.1, 0.2, 0.4, 1.5])),
    "box_edge": changed(SPATIAL, **items([0.1, 0.2, 0.4, 1.01])),
    "box_empty": changed(SPATIAL, **items([0.4, 0.2, 0.4, 0.6])),
    "box_large": changed(SPATIAL, **items([0.0, 0.0, 1.0, 0.9])),
    "reasoning_time": changed(SPATIAL, reasoning_process="He runs at <t>1.0</t>s."),
    "reasoning_box": changed(SPATIAL, reasoning_process="He runs at <box>[0.1,0.2,0.5,0.6]</box>."),
    "reasoning_pair": changed(SPATIAL, reasoning_process=f"<obj>dog</obj><box>{OTHER}</box>at<t>0.5</t>s"),
    "reasoning_name": changed(SPATIAL, reasoning_process=f"<obj>cat</obj><box>{BOX}</box>at<t>0.5</t>s"),
    "letter": changed(CHOICE, answer="C"),
    "duplicate_row": TEMPORAL | {"id": "again"},
    "duplicate_question": TEMPORAL | {"id": "again", "answer": "[0.5, 1.0]"},
    "leak_content": changed(TEMPORAL, video_path="copied.mp4"),
    "leak_name": changed(TEMPORAL, video_path="asked_about.mp4"),
    "leak_id": changed(TEMPORAL, video_path="NUsG9BgSes0_0.0_10.0.mp4"),
    "budget_answer": changed(SPATIAL, reasoning_process="It is so. " * 300),
}
"""Kind -> a row that has this fault and no other."""


def write_world(root: Path, rows: list[Any], name: str = "STGR-RL.json") -> Path:
    """A data root with these rows and the media that the rows of this file name; returns the annotation file."""
    videos = root / "videos"
    for folder in ("stgr/plm/videos", "stgr/plm/kfs", "timerft", "gqa", "videor1"):
        (videos / folder).mkdir(parents=True, exist_ok=True)
    clip = write_clip(root / "clip.mp4", TWO_S)
    for folder in ("stgr/plm/videos", "timerft", "videor1"):
        (videos / folder / "clip.mp4").write_bytes(clip.read_bytes())
    write_clip(videos / "timerft" / "copied.mp4", even_times(48))
    for name_ in ("asked_about.mp4", "NUsG9BgSes0_0.0_10.0.mp4"):
        write_clip(videos / "timerft" / name_, even_times(49))
    (videos / "timerft" / "broken.mp4").write_bytes(clip.read_bytes()[:200])
    picture = Image.fromarray(np.full((96, 160, 3), 90, np.uint8))
    picture.save(videos / "gqa" / "image.jpg")
    picture.save(videos / "stgr" / "plm" / "kfs" / "k.jpg")
    file = root / "json_data" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(rows))
    return file


def settings(root: Path) -> RowSettings:
    return RowSettings("stgr", str(root), "", LIMITS, None)
