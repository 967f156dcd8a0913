"""Rules that need nothing but the row: key frames, boxes, options, reasoning that keeps to the annotations."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from o3v.datacheck.findings import Fact, short
from o3v.grounding.boxes import area
from o3v.grounding.parse import read_boxes, read_claims, read_times
from o3v.types import Box, BoxScale, Claim, KeyFrame, Sample, Task

_UNIT = BoxScale(1, 1)
_OPTION = re.compile(r"(?:^|\n)[ \t]*\(?([A-Z])(?:\.|\)|:)")
_SHOWN = 5


class RowLimits(Protocol):
    """The part of the limits that these rules read."""

    @property
    def reasoning_time_s(self) -> float:
        """See `row_reading.Limits`."""

    @property
    def reasoning_box(self) -> float:
        """See `row_reading.Limits`."""

    @property
    def large_box(self) -> float:
        """See `row_reading.Limits`."""


def row_facts(row: Mapping[str, Any], sample: Sample, limits: RowLimits) -> Iterator[Fact]:
    """What is wrong with a row that could be read.

    Args:
        row: as published; its fields have been validated.
        sample: what was made of it.
        limits: what is allowed.
    """
    yield from _key_frames(row, sample)
    yield from _edge_boxes(row, sample.task)
    yield from _large_boxes(sample, limits.large_box)
    yield from _letter(sample)
    if sample.task is Task.TEMPORAL_SPATIAL:
        yield from reasoning_facts(sample, limits)


def _key_frames(row: Mapping[str, Any], sample: Sample) -> Iterator[Fact]:
    times = [frame.time_s for frame in sample.key_frames]
    for time_s in sorted({time_s for time_s in times if times.count(time_s) > 1}):
        yield Fact("key_frame_twice", f"key_frames: {times.count(time_s)} at {time_s:g} s, wanted one a time")
    for frame in sample.key_frames:
        if not frame.boxes:
            yield Fact(
                "key_frame_no_box", f"key_frames: none of key_items holds a box for the one at {frame.time_s:g} s"
            )
    if sample.key_frames:
        known = {str(frame["idx"]) for frame in row["key_frames"]}
        unused = [key for key, items in (row.get("key_items") or {}).items() if key not in known and _has_box(items)]
        if unused:
            yield Fact("unused_boxes", f"key_items: {_listed(unused)}, wanted numbers of key_frames {_listed(known)}")


def _has_box(items: object) -> bool:
    return isinstance(items, dict) and any(items.values())


def _edge_boxes(row: Mapping[str, Any], task: Task) -> Iterator[Fact]:
    """Boxes as published that were cut to the frame."""
    for field, box in _published_boxes(row, task):
        if min(box) < 0 or max(box) > 1:
            yield Fact("box_edge", f"{field}: {_shown(box)} of the frame sticks out, allowed is 0 to 1; it is cut")


def _published_boxes(row: Mapping[str, Any], task: Task) -> Iterator[tuple[str, Box]]:
    """(field, box in shares of the frame) of every box that the reader takes."""
    if task is Task.TEMPORAL_SPATIAL:
        scale = _UNIT
    elif task is Task.VISUAL_QA:
        scale = BoxScale(float(row["image_size"][0]), float(row["image_size"][1]))
    else:
        return
    for field in ("answer", "reasoning_process"):
        yield from ((field, box) for box in read_boxes(str(row.get(field) or ""), scale))
    if task is Task.TEMPORAL_SPATIAL:
        for frame in row["key_frames"]:
            items = (row.get("key_items") or {}).get(str(frame["idx"])) or {}
            for name, boxes in items.items():
                field = f"key_items[{frame['idx']}][{short(repr(name))}]"
                yield from ((field, _box(box)) for box in boxes or [] if box is not None)


def _box(published: Sequence[float]) -> Box:
    return float(published[0]), float(published[1]), float(published[2]), float(published[3])


def _large_boxes(sample: Sample, largest: float) -> Iterator[Fact]:
    for field, box in _sample_boxes(sample):
        if area(box) > largest:
            yield Fact(
                "box_large", f"{field}: {_shown(box)} covers {area(box):.0%} of the frame, allowed {largest:.0%}"
            )


def _sample_boxes(sample: Sample) -> Iterator[tuple[str, Box]]:
    for frame in sample.key_frames:
        for name, boxes in frame.boxes.items():
            yield from ((f"key frame at {frame.time_s:g} s, {short(repr(name))}", box) for box in boxes)
    if sample.box is not None:
        yield "answer", sample.box


def _letter(sample: Sample) -> Iterator[Fact]:
    """Only where the question lists options in the usual way; published questions need not."""
    options = _OPTION.findall(sample.question)
    if sample.letter is not None and len(options) > 1 and sample.letter not in options:
        yield Fact("letter", f"answer: option {sample.letter}, but the question has {_listed(options)}")


def reasoning_facts(sample: Sample, limits: RowLimits) -> Iterator[Fact]:
    """Times and boxes of the reasoning that are not among the annotations (paper: A.4, self-consistency).

    A claim must cite a key frame's time and a box of that key frame; times and boxes outside of claims must be
    annotated at all.
    """
    claims = read_claims(sample.reasoning, _UNIT)
    for claim in claims:
        yield from _claim_facts(claim, sample.key_frames, limits)
    in_claims = {claim.time_s for claim in claims}
    for time_s in read_times(sample.reasoning):
        if time_s not in in_claims and not _frames_at(sample.key_frames, time_s, limits):
            yield _time_fact(time_s, sample.key_frames)
    claimed = {box for claim in claims for box in claim.boxes}
    annotated = _boxes_of(sample.key_frames)
    for box in read_boxes(sample.reasoning, _UNIT):
        if box not in claimed and not _is_among(box, annotated, limits):
            yield _box_fact(box)


def _claim_facts(claim: Claim, key_frames: Sequence[KeyFrame], limits: RowLimits) -> Iterator[Fact]:
    frames = _frames_at(key_frames, claim.time_s, limits)
    if not frames:
        yield _time_fact(claim.time_s, key_frames)
    here = _boxes_of(frames)
    for box in claim.boxes:
        if frames and _is_among(box, here, limits):
            yield from _name_facts(claim, box, frames, limits)
        elif not _is_among(box, _boxes_of(key_frames), limits):
            yield _box_fact(box)
        elif frames:
            message = f"reasoning_process: box {_shown(box)} of {short(repr(claim.name))} is annotated, but not at"
            yield Fact("reasoning_pair", f"{message} {claim.time_s:g} s")


def _name_facts(claim: Claim, box: Box, frames: Sequence[KeyFrame], limits: RowLimits) -> Iterator[Fact]:
    """One name may be part of the other: `man` and `the man`."""
    names = [name for frame in frames for name, boxes in frame.boxes.items() if _is_among(box, boxes, limits)]
    said = claim.name.casefold()
    if not any(said in name.casefold() or name.casefold() in said for name in names):
        annotated = _listed(repr(name) for name in names)
        yield Fact("reasoning_name", f"reasoning_process: {short(repr(claim.name))} is annotated as {annotated}")


def _frames_at(key_frames: Sequence[KeyFrame], time_s: float, limits: RowLimits) -> list[KeyFrame]:
    return [frame for frame in key_frames if abs(frame.time_s - time_s) <= limits.reasoning_time_s]


def _boxes_of(key_frames: Iterable[KeyFrame]) -> list[Box]:
    return [box for frame in key_frames for boxes in frame.boxes.values() for box in boxes]


def _is_among(box: Box, annotated: Iterable[Box], limits: RowLimits) -> bool:
    return any(max(abs(a - b) for a, b in zip(box, other, strict=True)) <= limits.reasoning_box for other in annotated)


def _time_fact(time_s: float, key_frames: Sequence[KeyFrame]) -> Fact:
    times = _listed(f"{frame.time_s:g}" for frame in key_frames)
    return Fact("reasoning_time", f"reasoning_process: {time_s:g} s, wanted a time of the key frames {times}")


def _box_fact(box: Box) -> Fact:
    return Fact("reasoning_box", f"reasoning_process: box {_shown(box)}, wanted one of key_items")


def _shown(box: Box) -> str:
    return f"[{', '.join(f'{side:.4g}' for side in box)}]"


def _listed(values: Iterable[object]) -> str:
    shown = sorted(short(value, 40) for value in values)
    return ", ".join(shown[:_SHOWN]) + (f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else "")
