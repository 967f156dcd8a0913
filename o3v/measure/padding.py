"""What padding costs under groupings of the mix: counted on generated rows, nothing is decoded or timed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from o3v.data.difficulty import Difficulty
from o3v.data.lengths import image_tokens, padded_tokens, video_tokens
from o3v.data.mix import DataMix, modality
from o3v.data.order import BatchOrder, Grouping
from o3v.data.schedule import Schedule
from o3v.types import Sample, Task
from o3v.video.header import Header
from o3v.video.reader import ClipReader

SIZES_PX = ((640, 360), (1280, 720), (1920, 1080), (480, 360), (320, 240), (720, 1280))
SHARES = {"image": 0.14, "grounded": 0.30, "temporal": 0.14, "general": 0.42}
"""Kinds of rows as in the RL half of STGR (arXiv:2510.20579, A.2): stills, clips with key frames, and without."""

MEDIAN_S = {"grounded": 30.0, "temporal": 60.0, "general": 6.0}
"""Made-up median lengths of videos; spread lognormally by a factor of e."""

MEDIAN_LETTERS = 500.0
COLUMNS = ("length_window", "same_modality", "padding", "saved", "slowest_saved", "mixed_batches", "moved_batches")


@dataclass(frozen=True)
class PaddingCase:
    """What is counted.

    Attributes:
        rows: generated rows, one epoch of which is batched.
        devices, prompts_per_device: shape of a batch.
        windows: values of `length_window`, the first the one that the others are compared with.
        factor: pixels of a vision token's side.
        seed: of rows and order.
        reader: sizes and numbers of frames.
    """

    rows: int
    devices: int
    prompts_per_device: int
    windows: Sequence[int]
    factor: int
    seed: int
    reader: ClipReader


def padding_rows(case: PaddingCase) -> list[dict[str, Any]]:
    """One row a grouping, mixed and of one modality, over the whole batches of an epoch.

    `padding`: share of padded tokens that are none of a sample. `saved`: share of padded tokens that the grouping saves
    beside the first row. `slowest_saved`: the same for the device with the most tokens of each batch, for which the
    others wait. `mixed_batches`: share of batches with more than one modality. `moved_batches`: how many batches a
    sample is moved from its place in the mix, on average.
    """
    samples, lengths = generated(case)
    order = DataMix({}, {}, Difficulty({"all": 1.0}, None)).order(samples, case.seed)
    schedule = Schedule.even(case.devices * case.prompts_per_device, case.rows)
    plain: Mapping[str, Any] | None = None
    found = []
    for window in case.windows:
        for same in (False, True):
            batches = Grouping(same, window).batches(order, lengths, schedule)
            counts = _counts(case, batches, samples, lengths)
            plain = plain or counts
            found.append({"length_window": window, "same_modality": same} | _row(counts, plain))
    return found


def padding_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as a table of Markdown."""
    lines = [COLUMNS, ("---",) * len(COLUMNS)]
    for row in rows:
        shares = [f"{row[name]:.1%}" for name in COLUMNS[2:6]]
        lines.append(
            (str(row["length_window"]), str(row["same_modality"]).lower(), *shares, f"{row['moved_batches']:.1f}")
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def generated(case: PaddingCase) -> tuple[list[Sample], list[int]]:
    """Rows with the shares of `SHARES` and their tokens."""
    generator = np.random.default_rng(case.seed)
    kinds = generator.choice(list(SHARES), case.rows, p=list(SHARES.values()))
    made = [_row_of(str(kind), number, case, generator) for number, kind in enumerate(kinds)]
    return [sample for sample, _ in made], [tokens for _, tokens in made]


def _row_of(kind: str, number: int, case: PaddingCase, generator: np.random.Generator) -> tuple[Sample, int]:
    size_px = SIZES_PX[generator.integers(len(SIZES_PX))]
    text = int(generator.lognormal(np.log(MEDIAN_LETTERS), 0.5)) // 4
    path = Path(f"{number}")
    image, video = (path, None) if kind == "image" else (None, path)
    row = Sample(f"{number:06d}", kind, Task.VISUAL_QA, "", "", "", video, image, (), None, None, None)
    if kind == "image":
        return row, text + image_tokens(Header(size_px, 0.0, 1), case.reader, case.factor)
    seconds = float(generator.lognormal(np.log(MEDIAN_S[kind]), 1.0))
    keys = int(generator.integers(1, 6)) if kind == "grounded" else 0
    return row, text + video_tokens(Header(size_px, seconds, 0), keys, case.reader, case.factor)


def _counts(
    case: PaddingCase, batches: BatchOrder, samples: Sequence[Sample], lengths: Sequence[int]
) -> dict[str, float]:
    """Sums over the whole batches of an epoch."""
    size = case.devices * case.prompts_per_device
    count = batches.order.epoch_length // size
    place = {int(number): at for at, number in enumerate(batches.order.epoch(0))}
    sums = {"real": 0.0, "padded": 0.0, "slowest": 0.0, "mixed": 0.0, "moved": 0.0, "batches": float(count)}
    for index in range(count):
        batch = batches.batch(index)
        parts = np.split(np.array([lengths[n] for n in batch]), case.devices)
        padded = [padded_tokens([part.tolist()]) for part in parts]
        sums["real"] += sum(int(part.sum()) for part in parts)
        sums["padded"] += sum(padded)
        sums["slowest"] += max(padded)
        sums["mixed"] += len({modality(samples[n]) for n in batch}) > 1
        sums["moved"] += sum(abs(place[n] // size - index) for n in batch) / size
    return sums


def _row(counts: Mapping[str, float], plain: Mapping[str, float]) -> dict[str, float]:
    """Shares; a grouping's batches may hold slightly other samples of the epoch's end, so tokens count by real ones."""
    per_token = {name: counts[name] / counts["real"] for name in ("padded", "slowest")}
    before = {name: plain[name] / plain["real"] for name in per_token}
    return {
        "padding": 1 - 1 / per_token["padded"],
        "saved": 1 - per_token["padded"] / before["padded"],
        "slowest_saved": 1 - per_token["slowest"] / before["slowest"],
        "mixed_batches": counts["mixed"] / counts["batches"],
        "moved_batches": counts["moved"] / counts["batches"],
    }
