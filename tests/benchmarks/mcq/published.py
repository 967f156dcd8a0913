"""Tiny benchmarks in the layouts of the published ones, questions made up."""

import json
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow.parquet import write_table

from o3v.benchmarks.records import Identity, Record, make_record
from o3v.benchmarks.videomme import VideoMME
from o3v.benchmarks.videommmu import VideoMMMU
from o3v.benchmarks.worldsense import WorldSense
from o3v.types import BoxScale

COMMON: dict[str, Any] = {"definition": "corrected", "prompt": "own", "think": True, "seed": 0, "resamples": 50}
WHO = Identity("m", "r", 0)

VIDEOMME_ROWS = [
    {
        "video_id": "001",
        "videoID": "vid_a",
        "question_id": "001-1",
        "duration": "short",
        "domain": "Knowledge",
        "sub_category": "Law",
        "task_type": "OCR Problems",
        "question": "What is written on the door?",
        "options": ["A. Court.", "B. Exit.", "C. Nothing at all.", "D. Open."],
        "answer": "B",
    },
    {
        "video_id": "002",
        "videoID": "vid_b",
        "question_id": "002-1",
        "duration": "long",
        "domain": "Multilingual",
        "sub_category": "Multilingual",
        "task_type": "Counting Problem",
        "question": "How many languages are spoken?",
        "options": ["A. 1.", "B. 2.", "C. 3.", "D. 4."],
        "answer": "B",
    },
    {
        "video_id": "002",
        "videoID": "vid_b",
        "question_id": "002-2",
        "duration": "long",
        "domain": "Life Record",
        "sub_category": "Multilingual",
        "task_type": "Action Recognition",
        "question": "Who sings?",
        "options": ["A. He.", "B. She.", "C. They.", "D. Nobody."],
        "answer": "C",
    },
]

WORLDSENSE_VIDEOS = {
    "aaa": {
        "video_id": "aaa",
        "video_duration": "50s",
        "duration": "<1min",
        "domain": "Music",
        "sub_category": "Covers",
        "audio_class": ["Music", "Speech"],
        "video_caption": "A band.",
        "task0": {
            "task_domain": "Recognition",
            "task_type": "Audio Recognition",
            "question": "Which instrument starts?",
            "answer": "C",
            "candidates": ["A. Drum", "B. Harp", "C. Flute", "D. Horn"],
        },
        "task1": {
            "task_domain": "Reasoning",
            "task_type": "Causal Reasoning",
            "question": "Why does it stop?",
            "answer": "A",
            "candidates": ["A. Rain", "B. Applause", "C. An accident", "D. It is over"],
        },
    },
    "bbb": {
        "video_id": "bbb",
        "video_duration": "90s",
        "duration": "1-2min",
        "domain": "Sports",
        "sub_category": "Soccer",
        "audio_class": ["Event"],
        "video_caption": "A match.",
        "task0": {
            "task_domain": "Recognition",
            "task_type": "Object Counting",
            "question": "How many balls?",
            "answer": "D",
            "candidates": ["A. 0", "B. 1", "C. 2", "D. 3"],
        },
    },
}

TEN = [f"thing {n}" for n in range(10)]
VIDEOMMMU_TRACKS = {
    "Perception": {
        "0": {"id": "dev_Biology_3", "link_selected": "x", "question": "What?", "options": TEN, "answer": "G"},
        "1": {
            "id": "test_Alchemy_1",
            "link_selected": "x",
            "question": "Gold?",
            "options": TEN + TEN[:4],
            "answer": "N",
        },
    },
    "Comprehension": {
        "0": {"id": "dev_Biology_3", "link_selected": "x", "question": "And if?", "options": TEN[:4], "answer": "A"},
    },
    "Adaptation": {
        "0": {
            "id": "dev_Biology_3",
            "link_selected": "x",
            "question": "<image 1> What sugar?",
            "options": TEN,
            "answer": "A",
            "question_type": "multiple-choice",
        },
        "1": {
            "id": "validation_Math_15",
            "link_selected": "x",
            "question": "How fast? <image 1>",
            "options": [],
            "answer": "['24/7', '3.43]",
            "question_type": "open",
        },
    },
}


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def touch(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"")


def videomme(root: Path, rows: Any = None, **changes: Any) -> VideoMME:
    """The benchmark over its files, which are written."""
    path = root / "videomme" / "test-00000-of-00001.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_table(pyarrow.Table.from_pylist(rows or VIDEOMME_ROWS), path)
    touch(root / "data", "vid_a.mp4", "vid_b.mkv")
    settings = {"annotations": str(path.relative_to(root)), "videos": "data", "subtitles": None, "subtitle_chars": 1000}
    return VideoMME(**{"root": str(root), **settings, **COMMON, **changes})


def worldsense(root: Path, content: Any = None, **changes: Any) -> WorldSense:
    write_json(root / "worldsense_qa.json", content or WORLDSENSE_VIDEOS)
    touch(root / "videos", "aaa.mp4", "bbb.mp4")
    return WorldSense(
        **{"root": str(root), "annotations": "worldsense_qa.json", "videos": "videos", **COMMON, **changes}
    )


def videommmu(root: Path, content: Any = None, **changes: Any) -> VideoMMMU:
    for track, rows in (content or VIDEOMMMU_TRACKS).items():
        write_json(root / f"{track.lower()}_video.json", {track: rows})
    touch(root / "Science", "dev_Biology_3.mp4", "validation_Math_15.mp4")
    touch(root / "Other", "test_Alchemy_1.mp4")
    touch(root / "images", "dev_Biology_3.png", "validation_Math_15_1.jpg")
    everything = {"tracks": list(VIDEOMMMU_TRACKS), "pictures": "files"}
    return VideoMMMU(**{"root": str(root), **everything, **COMMON, **changes})


def records_of(benchmark: Any, texts: dict[str, str]) -> list[Record]:
    """Scored answers; questions without a text are answered with the empty one."""
    scale = BoxScale(1, 1)
    asked = [(question, texts.get(question.id, "")) for question in benchmark.questions()]
    return [make_record(q, WHO, None, text, benchmark.score(q, text, scale), None) for q, text in asked]
