"""One worker on real videos with a scripted model, started as a process that a test may kill.

python -m tests.benchmarks.killed MEDIA FOLDER K/N SECONDS_A_BATCH
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from o3v.benchmarks.ask import QuestionPreparer
from o3v.benchmarks.exam import Exam, exam_of
from o3v.benchmarks.records import Identity
from o3v.benchmarks.runner import Respondent, run_benchmark
from o3v.benchmarks.shards import Shard, read_shard
from o3v.benchmarks.tvgbench import TvgBench
from o3v.models.family import find_family
from o3v.video.reader import ClipReader
from o3v.video.sampling import FrameSampling

FAMILY = find_family("qwen2_5_vl")
READER = ClipReader(FrameSampling(4, 2, 1.0, False), 28 * 28, 4 * 28 * 28, 4 * 28 * 28, 512)


def benchmark(media: Path) -> TvgBench:
    return TvgBench(str(media), "rows.json", "videos", "corrected", 50, 0)


def says(asked):
    """An answer that depends on what is seen and asked, so that a mix-up shows."""
    texts = []
    for question, prompt in asked:
        start = float(prompt.clip.frames.mean()) % 3 + prompt.clip.times_s[0]
        texts.append(f"<think>{question.id}</think><answer>From {start:.3f}s to {prompt.clip.duration_s:.3f}s</answer>")
    return texts


def answer(exam: Exam, folder: Path, shard: Shard, seconds: float):
    def slowly(asked):
        time.sleep(seconds)
        return says(asked)

    who = Respondent(QuestionPreparer(READER, FAMILY), slowly, Identity("scripted", "r", 0))
    return run_benchmark(exam, who, folder, 1, None, shard)


if __name__ == "__main__":
    media, folder, shard, seconds = sys.argv[1:]
    answer(exam_of(benchmark(Path(media))), Path(folder), read_shard(shard), float(seconds))
