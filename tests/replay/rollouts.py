"""Groups of completions for tests: one sample of every task, written and read again."""

from dataclasses import replace
from pathlib import Path

from o3v.replay.format import read_group, rollout_fields
from o3v.types import BoxScale, Task
from tests.rewards.test_mix import SAMPLES, perfect

SCALE = BoxScale(1000, 1000)


def texts_of(task):
    best = perfect(task).text
    return [best, best.replace("3.0", "4.5").replace("100,200", "300,200"), "<think></think><answer>C</answer>", ""]


def fields_of(task, line_id="g", progress=0.3, **changes):
    sample = replace(SAMPLES[task], **changes)
    return rollout_fields(line_id, sample, texts_of(task), SCALE, progress, {"model": "m", "step": 3})


def group_of(task, **changes):
    return read_group(fields_of(task, **changes), "here")


def video_group(path: Path):
    return group_of(Task.TEMPORAL_SPATIAL, video_path=path)
