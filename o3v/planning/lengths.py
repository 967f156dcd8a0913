"""The largest sample of a data set, or the most that its reader lets through where the data are not here."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from o3v.data.lengths import FRAME_LABEL_TOKENS, LETTERS_A_TOKEN, estimate_tokens, sample_lengths
from o3v.planning.case import Lengths
from o3v.types import Sample
from o3v.video.reader import ClipReader

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Asked:
    """What a plan knows of lengths before it looks at data.

    Attributes:
        kind: sft or rl.
        completion: most tokens of a completion.
        text_tokens: of a prompt beside its frames, and of a target, where the data are not here.
        key_frames: shown on top of the even spread, where the data are not here.
        factor: pixels of a vision token's side.
    """

    kind: str
    completion: int
    text_tokens: int
    key_frames: int
    factor: int


def most_lengths(reader: ClipReader, asked: Asked) -> Lengths:
    """The largest clip that a reader lets through, with the given text."""
    frame = max(1, reader.max_pixels // asked.factor**2)
    keys = asked.key_frames if reader.sampling.insert_key_frames else 0
    frames = min(reader.sampling.max_frames + keys, max(1, reader.max_total_tokens // frame))
    prompt = frames * (frame + FRAME_LABEL_TOKENS) + asked.text_tokens
    spread = min(reader.sampling.max_frames, frames)
    return Lengths(prompt, asked.completion, frames, frame, "the most that data.reader lets through", frames - spread)


def largest_lengths(dataset: Any, reader: ClipReader, asked: Asked, folder: str) -> Lengths:
    """Of the data set's largest sample by estimate, nothing decoded; else as `most_lengths`.

    Args:
        dataset: with `root` and `samples()`.
        reader: how its media are read.
        asked: see there.
        folder: where the estimates of all samples are kept.
    """
    if not Path(dataset.root).is_dir():
        log.info("no data in %s: lengths are the most that data.reader lets through", dataset.root)
        return most_lengths(reader, asked)
    samples = dataset.samples()
    lengths = sample_lengths(folder, samples, reader, asked.factor)
    row = max(range(len(samples)), key=lengths.__getitem__)
    return _of_sample(samples[row], lengths[row], reader, asked)


def _of_sample(sample: Sample, tokens: int, reader: ClipReader, asked: Asked) -> Lengths:
    bare = replace(sample, question="", answer="", reasoning="")
    seen = estimate_tokens(bare, reader, asked.factor)
    most = most_lengths(reader, asked)
    if sample.video_path is None:
        frames, frame = (1, seen) if seen else (0, 0)
    else:
        frames = max(1, round(seen / (most.frame_tokens + FRAME_LABEL_TOKENS)))
        frame = max(1, seen // frames - FRAME_LABEL_TOKENS)
    target = math.ceil((len(sample.answer) + len(sample.reasoning)) / LETTERS_A_TOKEN)
    completion = target if asked.kind == "sft" else asked.completion
    keys = len(sample.key_frames) if reader.sampling.insert_key_frames and sample.video_path is not None else 0
    source = f"the largest sample, {sample.id}"
    return Lengths(max(1, tokens - target), max(1, completion), frames, frame, source, min(keys, frames - 1))
