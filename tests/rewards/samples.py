"""A sample with the fields that a test names, the others empty."""

from o3v.types import Sample, Task

EMPTY = Sample(
    id="t",
    source="test",
    task=Task.GENERAL_MCQ,
    question="",
    answer="",
    reasoning="",
    video_path=None,
    image_path=None,
    key_frames=(),
    span_s=None,
    box=None,
    letter=None,
)


def sample(**fields) -> Sample:
    return Sample(**{**vars(EMPTY), **fields})
