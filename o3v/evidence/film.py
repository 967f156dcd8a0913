"""A grounded answer as a film: every frame of the clip, with a stop where the model cites one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from o3v.errors import ConfigError, StorageError
from o3v.evidence.cited import CitedFrame, cited_frames
from o3v.evidence.draw import MIN_WIDTH_PX, answer_blocks, frame_caption, paragraph, stack
from o3v.evidence.frame import draw_frame
from o3v.evidence.text import INK, Colour
from o3v.evidence.timeline import draw_timeline
from o3v.types import Clip, Completion, Sample
from o3v.video.encode import write_video

TICK_S = 0.5
"""How long a frame is shown that nobody cites; films are written at 1 / TICK_S frames a second."""

CITED_TICKS = 4
"""A cited frame stands so many times longer."""


def evidence_film(clip: Clip, completion: Completion, question: str, path: Path, sample: Sample | None = None) -> None:
    """Writes the film of an answer; boxes are seen at their cited times, a cursor runs along the timeline.

    Args:
        clip: the frames that the model saw.
        completion: its parsed answer; every text can be drawn.
        question: as asked.
        path: ends with `.mp4` (H.264, no sound) or `.gif`.
        sample: with the annotation, shown dashed; None where there is none.

    Raises:
        ConfigError: another ending.
        StorageError: the file cannot be written.
    """
    shots = _shots(clip, completion, question, sample)
    if path.suffix == ".mp4":
        repeated = (np.asarray(picture) for picture, ticks in shots for _ in range(ticks))
        write_video(path, repeated, 1 / TICK_S)
    elif path.suffix == ".gif":
        _write_gif(path, list(shots))
    else:
        raise ConfigError(f"{path}: a film ends with .mp4 or .gif, not {path.suffix!r}")


def _shots(
    clip: Clip, completion: Completion, question: str, sample: Sample | None
) -> Iterator[tuple[Image.Image, int]]:
    """Pictures of one size, with how many ticks each is shown."""
    colours: dict[str, Colour] = {}
    for frame in cited_frames(clip, completion, sample):
        picture = _frame(clip, frame, colours)
        width = max(MIN_WIDTH_PX, picture.width)
        centred = Image.new("RGB", (width, picture.height), (255, 255, 255))
        centred.paste(picture, ((width - picture.width) // 2, 0))
        blocks = [paragraph(question, 19, INK, width, 3), centred]
        if clip.times_s:
            blocks.append(draw_timeline(clip, completion, sample, width, clip.times_s[frame.index]))
        blocks += answer_blocks(completion, sample, width)
        yield stack(blocks, width), CITED_TICKS if frame.claimed else 1


def _frame(clip: Clip, frame: CitedFrame, colours: dict[str, Colour]) -> Image.Image:
    # a caption that is never empty keeps all pictures of a film equally high
    caption = frame_caption(clip, frame) or "image"
    return draw_frame(clip.frames[frame.index], frame.claimed, caption, frame.annotated, colours)


def _write_gif(path: Path, shots: list[tuple[Image.Image, int]]) -> None:
    first, *others = [picture for picture, _ in shots]
    durations_ms = [round(1000 * TICK_S * ticks) for _, ticks in shots]
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            first.save(temporary, format="GIF", save_all=True, append_images=others, duration=durations_ms, loop=0)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"{path}: cannot write ({error.strerror or error})") from error
