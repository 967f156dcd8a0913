"""Rules that need a row's media: is it there, does it decode, do times and sizes fit it."""

from __future__ import annotations

from collections.abc import Iterator

from o3v.datacheck.facts import MediaFacts, RowFacts
from o3v.datacheck.findings import Fact
from o3v.datacheck.row_reading import Limits


def media_facts(row: RowFacts, media: MediaFacts | None, limits: Limits) -> Iterator[Fact]:
    """What is wrong with a row beside its media.

    Args:
        row: a row that could be read.
        media: its file; None where files are not looked at. Times are then held against the published length.
        limits: what is allowed.
    """
    if media is not None and media.fault is not None:
        yield Fact(media.kind, f"{'image_path' if row.is_image else 'video_path'}: {media.fault}")
    usable = media if media is not None and media.fault is None else None
    if row.is_image:
        if usable is not None:
            yield from _image_size(row, usable)
        return
    yield from _part(row, usable, limits)
    if usable is not None:
        yield from _length(row, usable, limits)
        yield from _key_frames(row, usable, limits)
    yield from _span(row, usable, limits)


def clip_end_s(row: RowFacts, media: MediaFacts | None) -> float | None:
    """Where the clip ends, on the timeline of the row's times: by the file, else as published; None if unknown."""
    if media is None:
        return row.duration_s
    if row.part_s is None:
        return media.end_s
    return min(row.part_s[1], media.end_s) - row.part_s[0]


def _image_size(row: RowFacts, media: MediaFacts) -> Iterator[Fact]:
    size = row.image_size_px
    if size is not None and size != (media.width, media.height):
        published = f"[{size[0]:g}, {size[1]:g}]"
        yield Fact("image_size", f"image_size: {published}, but {row.media} has [{media.width}, {media.height}] pixels")


def _part(row: RowFacts, media: MediaFacts | None, limits: Limits) -> Iterator[Fact]:
    if row.part_s is None:
        return
    start_s, end_s = row.part_s
    if not 0 <= start_s < end_s:
        yield Fact("part_outside", f"start, end: {start_s:g} to {end_s:g} s, wanted 0 <= start < end")
    elif media is not None and end_s > media.end_s + limits.duration_s:
        yield Fact(
            "part_outside", f"start, end: {start_s:g} to {end_s:g} s, but {row.media} ends at {media.end_s:.2f} s"
        )


def _length(row: RowFacts, media: MediaFacts, limits: Limits) -> Iterator[Fact]:
    end_s = clip_end_s(row, media)
    if row.duration_s is not None and end_s is not None and abs(end_s - row.duration_s) > limits.duration_s:
        yield Fact("duration", f"duration: {row.duration_s:g} s, but {row.media} gives {end_s:.2f} s")


def _key_frames(row: RowFacts, media: MediaFacts, limits: Limits) -> Iterator[Fact]:
    """A key frame before the first frame shows the first one, behind the end the last one."""
    for time_s in row.key_times_s:
        out_s = max(media.first_s - time_s, time_s - media.end_s)
        if out_s <= 0:
            continue
        kind = "key_frame_outside" if out_s > limits.key_frame_s else "key_frame_edge"
        allowed = f"{row.media} shows {media.first_s:g} to {media.end_s:.2f} s"
        yield Fact(kind, f"key_frames: {time_s:g} s lies {out_s:.2f} s outside, {allowed}")


def _span(row: RowFacts, media: MediaFacts | None, limits: Limits) -> Iterator[Fact]:
    if row.span_s is None:
        return
    start_s, end_s = row.span_s
    if end_s <= start_s:
        yield Fact("span_empty", f"answer: segment {start_s:g} to {end_s:g} s has no length, wanted start < end")
    clip_s = clip_end_s(row, media)
    if clip_s is None:
        return
    if start_s < 0 or end_s > clip_s:
        out_s = max(-start_s, end_s - clip_s)
        kind = "span_outside" if out_s > limits.span_s else "span_edge"
        length = f"the clip has 0 to {clip_s:.2f} s"
        yield Fact(kind, f"answer: segment {start_s:g} to {end_s:g} s lies {out_s:.2f} s outside, {length}")
