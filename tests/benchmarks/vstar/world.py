"""A small V-STaR: annotations with simple numbers, empty files for videos, answers to all questions."""

import json
from pathlib import Path

from o3v.benchmarks.vstar.benchmark import VStar
from o3v.types import BoxScale

THOUSANDTHS = BoxScale(1000, 1000)
DOMAINS = ("Sports", "Nature", "Sports")
LENGTHS_S = (20, 60, 180)  # Short, Medium, Long: a limit belongs to the longer group


def rows(n: int = 3) -> list[dict]:
    """Items with the moment 2 to 6 s and the left half of a frame of 200 x 100 at every second of it."""
    return [
        {
            "vid": f"v{i // 2}",  # two items a video
            "domain": DOMAINS[i % 3],
            "fps": 10,
            "frame_count": 10 * LENGTHS_S[i % 3],
            "width": 200,
            "height": 100,
            "question": f"Who is it in {i}?",
            "answer": "a man",
            "temporal_question": "When?",
            "spatial_question": "Where is he?",
            "spatial_question_2": "Where is he then?",
            "timestamps": [2, 6],
            "bboxes": [{"timestamp": s, "xmin": 0, "ymin": 0, "xmax": 100, "ymax": 100} for s in range(2, 7)],
        }
        for i in range(n)
    ]


def perfect(row: dict) -> dict:
    """A row with right answers in the released format."""
    boxes = {str(second): [0, 0, 100, 100] for second in range(2, 7)}
    when, where = {"answer_temporal": [2.0, 6.0]}, {"answer_spatial": boxes}
    two = {f"{key}_2": value for key, value in (when | where).items()}
    return row | {"answer_vqa": "a man", "judge_score": 3} | when | where | two


def write(path: Path, value) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path


def benchmark(root: Path, definition: str = "corrected", think: bool = True) -> VStar:
    return VStar(root=str(root), think=think, definition=definition, resamples=100, seed=0)


def installed(root: Path, annotations: list[dict]) -> VStar:
    """The benchmark with its files in place."""
    write(root / "V_STaR_test.json", annotations)
    for row in annotations:
        path = root / "videos" / "some" / f"{row['vid']}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return benchmark(root)
